"""Epochs: one picture for all, granted while it fits, nothing oversold, the load kept."""

from __future__ import annotations

import random

import pytest

from market.offer_index import OfferIndex
from market.offer_row import fits
from market.simulation.epochs import MAX_TRIES, Epoch, Market, Plan, run
from market.simulation.world import make_jobs, make_machines
from tests.fakes.simulated import a_job, a_machine


def hold(market: Market, jobs: int, **plan: int | None) -> list[Epoch]:
    asked = (a_job(tie) for tie in range(jobs))
    return list(run(market, asked, Plan(**{"load": 0, **plan}), random.Random(1)))


def test_two_who_want_the_same_slot_do_not_both_get_it():
    market = Market([a_machine(0, price=100), a_machine(1, price=101)], OfferIndex())
    (epoch,) = hold(market, 2)
    assert sorted((fate.best, fate.handle, fate.tries) for fate in epoch.fates) == [(0, 0, 1), (0, 1, 2)]
    assert sorted(epoch.in_turn) == [0, 1]
    assert epoch.free == (1, 1)


def test_who_comes_too_late_gets_nothing_and_what_is_left_is_told():
    crowded = Market([a_machine(0)], OfferIndex())
    (epoch,) = hold(crowded, 3)
    assert sorted((fate.handle, fate.left) for fate in epoch.fates) == [(-1, -1), (-1, -1), (0, -1)]
    scattered = Market([a_machine(handle, price=100 + handle) for handle in range(MAX_TRIES + 1)], OfferIndex())
    (epoch,) = hold(scattered, MAX_TRIES + 1)
    losers = [fate for fate in epoch.fates if fate.handle < 0]
    assert [(fate.tries, fate.left) for fate in losers] == [(MAX_TRIES, MAX_TRIES)]


def test_who_fits_nothing_asks_nobody():
    market = Market([a_machine(0, price=201)], OfferIndex())
    (epoch,) = hold(market, 1)
    assert epoch.fates[0][1:] == (-1, -1, 0, -1)


def test_epochs_end_when_the_jobs_do():
    market = Market([a_machine(0, free=8)], OfferIndex())
    assert [len(epoch.fates) for epoch in hold(market, 7, per_epoch=3)] == [3, 3, 1]


def test_jobs_end_oldest_first_down_to_the_load():
    market = Market([a_machine(0, free=10)], OfferIndex())
    market.fill((a_job(tie) for tie in range(99)), 500, random.Random(1))
    assert market.free == [5]
    first, second = hold(market, 6, per_epoch=3, load=500)
    assert (first.free, second.free) == ((5,), (5,))
    assert market.free == [5]


@pytest.mark.parametrize("known", [None, 0, 500, 1000])
def test_whatever_happens_no_slot_is_sold_twice(known: int | None):
    luck = random.Random(11)
    rows = make_machines(60, luck)
    market = Market(rows, OfferIndex())
    market.fill(make_jobs(rows, 500, luck), 400, luck)
    epochs = list(run(market, make_jobs(rows, 400, luck), Plan(40, 400, 5, known), luck))
    assert len(epochs) == 10
    for epoch in epochs:
        for places in ([fate.handle for fate in epoch.fates], list(epoch.in_turn)):
            left = list(epoch.free)
            for fate, handle in zip(epoch.fates, places, strict=True):
                if handle >= 0:
                    assert fits(rows[handle]._replace(free=left[handle]), fate.query)
                    left[handle] -= fate.query.slots
            assert min(left) >= 0
    assert sum(fate.handle >= 0 for epoch in epochs for fate in epoch.fates) > 50
