"""A purchase and the ask behind it: the bid's public part, and what stays at home."""

from __future__ import annotations

from market.ask import JobFacts, facts_of_spec
from market.strategies import STRATEGIES
from node.purchase import Purchase
from tests.fakes.samples import SALT, SPEC, a_bid, some_limits


def test_without_facts_the_spec_says_what_is_known():
    purchase = Purchase(spec=SPEC, salt=SALT, limits=some_limits(), strategy="lowest_cost")
    ask = purchase.ask(a_bid())
    assert (ask.job, ask.weights) == (facts_of_spec(SPEC), STRATEGIES["lowest_cost"])


def test_nobody_buys_from_itself():
    purchase = Purchase(spec=SPEC, salt=SALT, limits=some_limits(deny=(b"x" * 32,)), strategy="lowest_cost")
    assert purchase.ask(a_bid()).limits == some_limits(deny=(b"x" * 32, a_bid().requester))


def test_what_is_known_beyond_the_spec_is_used():
    job = JobFacts(max_ms=SPEC.max_duration_ms, work_ms=7)
    purchase = Purchase(spec=SPEC, salt=SALT, limits=some_limits(), strategy="custom", weights=(1, 2, 3, 4), job=job)
    ask = purchase.ask(a_bid(strategy="custom", weights=(1, 2, 3, 4)))
    assert (ask.job, ask.weights) == (job, (1, 2, 3, 4))
