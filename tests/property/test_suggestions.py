"""What a job is told to change, typed in as it was printed, matches on the same book."""

from __future__ import annotations

import shlex
from typing import Any

import click
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from market.explain import why_not
from market.matching import shortlist
from market.offer_book import OfferBook
from market.records import Offer
from market.signing import Verified
from node.auction import Purse
from node.cli.run import run
from node.cli.typed_job import TypedJob
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_terms import ask_of_request, name_binding_cap
from node.match_view import describe_why
from tests.fakes.samples import CHAIN_ID, ESCROW, NOW, PAYER, SESSION, a_signer, offered_by

PURSE = Purse(payer=PAYER, signer=SESSION, chain_id=CHAIN_ID, escrow=ESCROW)
SELLERS = [a_signer(f"s{number}") for number in range(6)]
MODELS = ("NVIDIA GeForce RTX 4090", "NVIDIA H100 80GB HBM3", "NVIDIA RTX A6000", "Tesla T4", "NVIDIA A100-SXM4-40GB")

SLIPPED = SELLERS[0].key.hex()[:-1] + ("0" if SELLERS[0].key[-1] & 15 else "1")
"""The first seller's key, with the last digit mistyped."""

OFFERS = st.fixed_dictionaries(
    {
        "price": st.integers(0, 10**7),
        "gpu": st.sampled_from(MODELS),
        "vram_mib": st.sampled_from([15_360, 20_470, 24_564, 40_960, 81_559]),
        "free_slots": st.integers(1, 8),
        "total_slots": st.just(8),
        "cpu_milli": st.integers(100, 64_000),
        "memory_mib": st.integers(100, 500_000),
        "disk_mib": st.integers(100, 2_000_000),
        "region": st.sampled_from(["eu-west", "us-east-2", "ap"]),
        "jurisdiction": st.sampled_from(["de", "us", "sg"]),
        "cuda_milli": st.sampled_from([11_800, 12_100, 12_400]),
        "driver": st.sampled_from(["535.104.05", "550.54", "470.1"]),
        "simulated": st.booleans(),
        "interruptible": st.booleans(),
        "notice_ms": st.integers(0, 600_000),
        "runtimes": st.sampled_from([("runc",), ("runc", "runsc")]),
    }
)
FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "gpu": st.sampled_from(["any", "H100", "A100,H100:2", "24GB+", "24GB..48GB:2", "A100:40GB", "T4:4", "80GB"]),
        "cpu": st.sampled_from(["0.5", "8", "33", "100"]),
        "memory": st.sampled_from(["1GB", "33.3GB", "128GiB"]),
        "disk": st.sampled_from(["10GB", "777.7GB", "4TB"]),
        "shm": st.just("512MiB"),
        "max_price": st.sampled_from(["0.0001/h", "0.5/h", "3/h", "40/h"]),
        "max_total": st.sampled_from(["0.01", "0.3333", "7"]),
        "region": st.sampled_from([("eu",), ("us", "ap")]),
        "jurisdiction": st.sampled_from([("eu",), ("us",), ("de", "sg")]),
        "cuda": st.sampled_from(["12.0", "12.4"]),
        "driver": st.sampled_from(["550", "535.104"]),
        "runtime": st.sampled_from(["runsc", "rnc"]),
        "allow": st.sampled_from([(SLIPPED,), (SLIPPED, SELLERS[1].key.hex())]),
        "min_reputation": st.just("0.5"),
        "interruptible": st.just(True),
        "simulated": st.just(True),
        "machines": st.sampled_from(["1", "3", "16"]),
    },
)


def parsed(line: str) -> JobRequest:
    """The job that a printed command line is, read by the command itself."""
    words = shlex.split(line)
    assert words[:2] == ["cfab", "run"]
    context = run.make_context("run", words[2:], parent=click.Context(click.Command("cfab")))
    flags = dict(context.params)
    for name in ("detach", "ticks"):
        flags.pop(name)
    typed = TypedJob.read(flags, flags.pop("file"), image=flags.pop("image"), command=flags.pop("command"))
    return typed.request()


def book_of(offers: list[Any]) -> OfferBook:
    book = OfferBook(max_skew_ms=60_000)
    signed: list[Verified[Offer]] = [offered_by(SELLERS[n], **offer) for n, offer in enumerate(offers)]
    for offer in signed:
        book.take(offer, NOW)
    return book


def matches(book: OfferBook, request: JobRequest) -> int:
    ask = ask_of_request(request, job_facts(request, request.spec), PURSE)
    return len(shortlist(book, ask, now=NOW).matches)


@settings(max_examples=150)
@given(offers=st.lists(OFFERS, min_size=1, max_size=6), flags=FLAGS, minutes=st.sampled_from(["1m", "7m", "3h"]))
def test_a_printed_suggestion_matches_when_it_is_typed_in(offers: list[Any], flags: dict[str, Any], minutes: str):
    assume({"max_price", "max_total"} & flags.keys())
    typed = TypedJob(flags={**flags, "max_duration": minutes}, image="image:1", command=("echo", "it's"))
    try:
        request = typed.request()
    except Exception:
        assume(False)
        raise
    book = book_of(offers)
    ask = ask_of_request(request, job_facts(request, request.spec), PURSE)
    told = describe_why(len(book), why_not(book, ask, NOW))
    for one in name_binding_cap(told, request)["suggestions"]:
        proposal = typed.proposal(request, one["changes"])
        assert proposal is not None, one
        better = parsed(proposal.line)
        assert matches(book, better) > matches(book, request), (one, proposal)
        assert better.spec.command == ("echo", "it's")
