"""Compiled offers and asks say the same as the rules on records do."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from market.compiler import DEFAULT_MBPS, UNKNOWN_LATENCY_MS, Compiler, image_key
from market.feasibility import is_feasible
from market.knowledge import STRANGER, Known
from market.matching import candidate_of
from market.offer_book import OfferBook
from market.offer_row import fits
from market.records import PaymentTerms, Requirements, Settlement
from tests.fakes.samples import ESCROW, NOW, a_signer, an_ask, offered_by, some_limits

WORDS = st.sampled_from(["", "eu", "eu-west", "us"])
OFFERS = st.fixed_dictionaries(
    {
        "gpu": st.sampled_from(["none", "NVIDIA A100-SXM4-80GB", "RTX 4090", "RTX 4090 Laptop"]),
        "price": st.sampled_from([0, 100, 200_000, 200_001]),
        "vram_mib": st.sampled_from([0, 24_000, 80_000]),
        "cpu_milli": st.sampled_from([1_000, 4_000]),
        "region": WORDS,
        "jurisdiction": st.sampled_from(["", "de", "ch", "us"]),
        "runtimes": st.sampled_from([("runc",), ("runc", "gvisor"), ()]),
        "driver": st.sampled_from(["", "535.104.05", "550.1", "junk"]),
        "cuda_milli": st.sampled_from([0, 12_400]),
        "simulated": st.booleans(),
        "interruptible": st.booleans(),
        "notice_ms": st.sampled_from([0, 60_000]),
        "settlement": st.builds(
            Settlement, chain_id=st.sampled_from([31337, 1]), escrow=st.just(ESCROW), payee=st.just(b"p" * 20)
        ),
        "terms": st.sampled_from([PaymentTerms(), PaymentTerms(tick_ms=3_600_000)]),
    }
)
NEEDS = st.builds(
    Requirements,
    gpus=st.sampled_from([(), ("a100",), ("rtx4090", "none")]),
    slots=st.sampled_from([1, 2, 3]),
    vram_mib=st.sampled_from([0, 24_000]),
    vram_max_mib=st.sampled_from([0, 24_000]),
    cpu_milli=st.sampled_from([0, 2_000]),
    regions=st.sampled_from([(), ("eu",), ("us", "eu-west")]),
    jurisdictions=st.sampled_from([(), ("eu",), ("ch", "eea")]),
    runtime=st.sampled_from(["", "gvisor", "kata"]),
    driver=st.sampled_from(["", "535.104"]),
    cuda_milli=st.sampled_from([0, 12_000]),
    min_reputation=st.sampled_from([0, 500]),
    interruptible=st.booleans(),
    min_notice_ms=st.sampled_from([0, 30_000]),
    allow_simulated=st.booleans(),
)
SELLERS = [a_signer("one"), a_signer("two"), a_signer("three")]
LIMITS = st.fixed_dictionaries(
    {
        "max_rtt_us": st.sampled_from([0, 5_000]),
        "allow": st.sampled_from([(), (SELLERS[0].key,), (b"?" * 32,)]),
        "deny": st.sampled_from([(), (SELLERS[1].key,)]),
    }
)
KNOWN = st.builds(Known, reputation=st.sampled_from([400, 1000]), rtt_us=st.sampled_from([0, 4_000, 6_000]))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(OFFERS, KNOWN), max_size=3), NEEDS, LIMITS)
def test_a_compiled_offer_fits_when_its_record_does(listed: Any, needs: Requirements, limits: Any):
    book = OfferBook(max_skew_ms=60_000)
    for seller, (changes, known) in zip(SELLERS, listed, strict=False):
        book.know(seller.key, known)
        book.take(offered_by(seller, **changes), NOW)
    ask = an_ask(requirements=needs, limits=some_limits(**limits))
    query = book.compile(ask, NOW)
    for row in book.rows(NOW):
        record = candidate_of(book, book.offer_at(row.handle))
        assert fits(row, query) == is_feasible(record, needs, ask.limits), record


def test_a_stranger_is_given_the_benefit_of_plain_assumptions():
    row = Compiler().row(offered_by(SELLERS[0], gpu="A100"), STRANGER, handle=4, provider=2, free=1)
    assert (row.handle, row.provider, row.free, row.speed, row.perf) == (4, 2, 1, 1000, 500)
    assert (row.rtt_us, row.latency) == (0, UNKNOWN_LATENCY_MS)
    assert row.link == 8_589_935 // DEFAULT_MBPS


def test_an_image_is_known_by_its_digest_whatever_it_is_called():
    assert image_key("a/b@sha256:12") == image_key("c@sha256:12") == image_key("sha256:12")
    assert image_key("a:1") != image_key("a:2")


def test_words_are_given_back_when_offers_change_and_leave():
    """A table that leaks would be full after a day, and every offer would then be compared by its words."""
    book = OfferBook(max_skew_ms=60_000)
    for version in range(1, 500):
        book.take(offered_by(SELLERS[0], version=version, region=f"r{version}", gpu=f"G{version}"), NOW)
        if version % 7 == 0:
            book.know(SELLERS[0].key, Known(reputation=version))
        if version % 50 == 0:
            book.take(offered_by(SELLERS[0], version=version, withdrawn=True), NOW)
    (row,) = book.rows(NOW)
    assert row.flags == 0
    assert book.compile(an_ask(), NOW).classes == (row.klass, 4095)


def test_the_going_price_is_the_lower_median_of_the_models_asked_for():
    book = OfferBook(max_skew_ms=60_000)
    for number, (gpu, price) in enumerate([("A100", 10), ("A100", 20), ("A100", 30), ("T4", 1), ("T4", 2)]):
        book.take(offered_by(a_signer(f"p{number}"), gpu=gpu, price=price), NOW)
    assert book.compile(an_ask(requirements=Requirements(gpus=("A100",))), NOW).reference == 20
    assert book.compile(an_ask(requirements=Requirements(gpus=("T4",))), NOW).reference == 1
    assert book.compile(an_ask(), NOW).reference == 20
    assert OfferBook(max_skew_ms=1).compile(an_ask(), NOW).reference == 0
