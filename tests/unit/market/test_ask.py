"""From a bid and the private part to the whole ask."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from market.ask import MIB, JobFacts, ask_of, facts_of_spec
from market.errors import InvalidRequest
from market.strategies import STRATEGIES
from tests.fakes.samples import SPEC, a_bid, an_input, some_limits


def test_an_ask_is_the_bid_and_what_stays_at_home():
    bid, limits, job = a_bid(strategy="balanced"), some_limits(max_price=7), JobFacts(max_ms=5)
    ask = ask_of(bid, limits, job)
    assert (ask.bid_id, ask.requirements, ask.weights) == (bid.bid_id, bid.requirements, STRATEGIES["balanced"])
    assert (ask.limits, ask.job) == (limits, job)


def test_a_bid_with_a_strategy_of_another_time_is_refused():
    with pytest.raises(InvalidRequest):
        ask_of(a_bid(strategy="psychic"), some_limits(), JobFacts(max_ms=5))


def test_what_must_be_moved_is_rounded_up():
    spec = replace(SPEC, inputs=(replace(an_input(), size=1), replace(an_input(), size=3 * MIB)))
    facts = facts_of_spec(spec)
    assert (facts.moved_mib, facts.max_ms, facts.image, facts.work_ms) == (4, spec.max_duration_ms, spec.image, 0)
