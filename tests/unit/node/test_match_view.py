"""An auction as plain data: terms that add up, and nothing that JSON would lose."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market import money
from market.ask import Ask, JobFacts
from market.explain import why_not
from market.knowledge import Known
from market.lease import LeaseState
from market.matching import shortlist
from market.offer_book import OfferBook
from market.records import Offer, Requirements
from market.signing import Verified
from market.strategies import STRATEGIES
from node.match_view import describe_match, strategy_name
from tests.fakes.samples import NOW, TERMS, a_signer, an_ask, offered_by, some_limits

HOUR = 3_600_000
SELLERS = [a_signer(f"s{number}") for number in range(4)]


def told(ask: Ask, *offers: Verified[Offer], known: Known | None = None) -> dict[str, Any]:
    book = OfferBook(max_skew_ms=60_000)
    for offer in offers:
        book.take(offer, NOW)
        if known is not None:
            book.know(offer.record.provider, known)
    reasons = why_not(book, ask, NOW)
    return describe_match(shortlist(book, ask, now=NOW), reasons, ask)


def test_the_table_says_who_fits_and_why_others_do_not():
    offers = [offered_by(seller, price=price) for seller, price in zip(SELLERS, (300, 100, 10**9, 200), strict=True)]
    seen = told(an_ask(), *offers)
    assert (seen["offers"], seen["matches"]) == (4, 3)
    assert seen["rejected"] == [{"rule": "price", "fails": 1, "only": 1}]
    assert [(one["rank"], one["price"]["nano_per_gpu_second"]) for one in seen["candidates"]] == [
        (1, 100), (2, 200), (3, 300),
    ]  # fmt: skip
    assert seen["going_price"]["nano_per_gpu_second"] in (200, 300)


def test_the_nearest_change_is_one_that_matches():
    seen = told(an_ask(limits=some_limits(max_price=99)), offered_by(SELLERS[0], price=100))
    assert (seen["matches"], seen["candidates"]) == (0, [])
    assert seen["closest"] == [{"rule": "price", "field": "max_price", "value": 100}]


def test_where_no_single_change_helps_those_are_told_that_help_together():
    ask = an_ask(limits=some_limits(max_price=99), requirements=Requirements(regions=("us",)))
    seen = told(ask, offered_by(SELLERS[0], price=100))
    assert seen["closest"] == []
    (way,) = seen["suggestions"]
    assert way["matches"] == 1
    assert {(one["field"], one["value"]) for one in way["changes"]} == {("max_price", 100), ("regions", "eu-west")}


def test_a_wish_that_must_be_dropped_is_an_empty_list():
    seen = told(an_ask(requirements=Requirements(jurisdictions=("de",))), offered_by(SELLERS[0], price=100))
    assert seen["closest"] == [{"rule": "jurisdiction", "field": "jurisdictions", "value": []}]


@given(
    price=st.integers(0, 10**12),
    speed=st.integers(1, 10_000),
    known=st.builds(
        Known,
        failure=st.integers(0, 1000),
        link_mbps=st.integers(0, 10**5),
        opening=st.integers(0, 10**9),
        speed=st.integers(0, 10**5),
    ),
    job=st.builds(
        JobFacts,
        max_ms=st.integers(1, 31 * 24 * HOUR),
        work_ms=st.integers(0, 24 * HOUR),
        image=st.just("image"),
        image_mib=st.integers(0, 10**5),
        moved_mib=st.integers(0, 10**6),
        waiting=st.none() | st.integers(0, 10**9),
    ),
)
def test_terms_add_up_to_the_total_to_the_unit(price: int, speed: int, known: Known, job: JobFacts):
    ask = an_ask(job=job, limits=some_limits(max_price=10**15))
    (one,) = told(ask, offered_by(SELLERS[0], price=price, speed=speed), known=known)["candidates"]
    assert sum(term["units"] for term in one["cost"].values()) == one["expected_cost"]["units"]
    assert all(term["units"] >= 0 for term in one["cost"].values())
    assert 0 <= one["expected_ms"] <= job.max_ms


def test_what_is_set_aside_and_what_can_be_lost_are_those_of_the_lease_to_come():
    ask = an_ask(requirements=Requirements(slots=2), job=JobFacts(max_ms=HOUR))
    (one,) = told(ask, offered_by(SELLERS[0], price=97_223))["candidates"]
    lease = LeaseState(price=97_223, slots=2, max_duration_ms=HOUR, terms=TERMS, since=NOW)
    assert one["cap"]["units"] == lease.cap == money.amount_due(97_223, 2 * HOUR)
    assert one["exposure"]["units"] == lease.exposure


def test_no_number_is_too_large_for_json():
    ask = an_ask(
        weights=STRATEGIES["balanced"], job=JobFacts(max_ms=31 * 24 * HOUR), limits=some_limits(max_price=10**15)
    )
    seen = told(ask, offered_by(SELLERS[0], price=10**15))
    assert json.loads(json.dumps(seen)) == seen
    (one,) = seen["candidates"]
    assert int(one["score"]) > 2**64
    assert all(abs(value) < 2**63 for value in one.values() if isinstance(value, int))


@pytest.mark.parametrize("name", STRATEGIES)
def test_weights_are_told_with_the_name_people_know(name: str):
    seen = told(an_ask(weights=STRATEGIES[name]), offered_by(SELLERS[0]))
    assert seen["strategy"] == name
    assert tuple(seen["weights"].values()) == STRATEGIES[name]
    assert list(seen["weights"]) == ["cost", "speed", "reliability", "latency"]


def test_weights_of_ones_own_are_custom():
    assert strategy_name((1, 2, 3, 4)) == "custom"


def test_an_answer_holds_for_the_ask_it_was_made_for():
    cheap = told(replace(an_ask(), job=JobFacts(max_ms=HOUR)), offered_by(SELLERS[0], price=1000))
    long = told(replace(an_ask(), job=JobFacts(max_ms=2 * HOUR)), offered_by(SELLERS[0], price=1000))
    costs = [seen["candidates"][0]["expected_cost"]["units"] for seen in (cheap, long)]
    assert 2 * costs[0] - 2 <= costs[1] <= 2 * costs[0]
