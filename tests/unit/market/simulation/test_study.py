"""A whole simulated market, by seed."""

from __future__ import annotations

import random

from market.offer_index import OfferIndex
from market.simulation.accounts import Account
from market.simulation.epochs import Plan
from market.simulation.study import Settings, hold


def held(known: int | None, seed: int = 7) -> Account:
    settings = Settings(machines=300, bids=900, plan=Plan(per_epoch=150, known=known))
    return hold(settings, lambda purpose: random.Random(f"{seed}/{purpose}"), OfferIndex())


def test_a_seed_names_a_market():
    assert held(None) == held(None)
    assert held(800) == held(800)
    assert held(None) != held(None, seed=8)


def test_who_counts_with_rivals_gets_the_first_provider_more_often():
    alone, counting = held(None), held(900)
    assert alone.first_try + 0.05 < counting.first_try
    assert counting.tries < alone.tries
    assert alone.bids == counting.bids == 900


def test_nobody_who_could_be_served_misses_what_is_left():
    assert held(None).missed < 0.05
    assert held(1000).missed < 0.01
