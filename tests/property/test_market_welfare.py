"""How good the auction is, measured against the true optimum (HiGHS, by way of scipy) on small markets.

Greedy means each bid in turn takes what is best for it, seeing what those before it left. That is not the optimum and
need not be; but it must never be more, the bound the simulator prints must never be less, and the simulator's own
figures must be what an independent count finds.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from market.offer_index import OfferIndex
from market.offer_row import Query, Row, fits
from market.simulation.accounts import account
from market.simulation.epochs import Epoch, Market, Plan, run
from market.simulation.welfare import at_most, worth
from market.simulation.world import make_jobs, make_machines


def optimum(rows: Sequence[Row], jobs: Sequence[Query]) -> int:
    """The most that requesters can keep together: each bid at most once, no machine more slots than it has."""
    pairs = [(i, j) for i, job in enumerate(jobs) for j, row in enumerate(rows) if fits(row, job)]
    if not pairs:
        return 0
    bid, machine = (np.array(side) for side in zip(*pairs, strict=True))
    slots = np.array([job.slots for job in jobs])[bid]
    gain = (np.array([job.max_price for job in jobs])[bid] - np.array([row.price for row in rows])[machine]) * slots
    count = len(pairs)
    limits = coo_matrix(
        (np.concatenate([np.ones(count), slots]), (np.concatenate([bid, len(jobs) + machine]), [*range(count)] * 2)),
        shape=(len(jobs) + len(rows), count),
    )
    most = np.concatenate([np.ones(len(jobs)), [row.free for row in rows]])
    # The solver's tolerances are absolute: with these numbers they are less than a nanotoken.
    found = milp(
        -gain * (1e4 / gain.max()),
        constraints=LinearConstraint(limits.tocsr(), -np.inf, most),
        integrality=np.ones(count),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 1e-9},
    )
    assert found.success, found.message
    return int(gain[found.x > 0.5].sum())


def in_turn(rows: Sequence[Row], jobs: Sequence[Query]) -> int:
    index = OfferIndex()
    for row in rows:
        index.put(row)
    return worth(rows, zip(jobs, index.match_all(jobs), strict=True))


def a_world(machines: int, bids: int, seed: int) -> tuple[list[Row], list[Query]]:
    luck = random.Random(seed)
    rows = make_machines(machines, luck)
    return rows, list(make_jobs(rows, bids, luck))


@settings(max_examples=40, deadline=None)
@given(machines=st.integers(1, 60), bids=st.integers(1, 80), seed=st.integers(0, 2**32))
def test_greedy_is_at_most_the_optimum_and_the_bound_at_least(machines: int, bids: int, seed: int):
    rows, jobs = a_world(machines, bids, seed)
    assert 0 <= in_turn(rows, jobs) <= optimum(rows, jobs) <= at_most(rows, jobs)


def test_on_average_greedy_keeps_seven_tenths_and_the_bound_is_close():
    worlds = [a_world(120, 150, seed) for seed in range(8)]
    best = sum(optimum(*world) for world in worlds)
    assert sum(in_turn(*world) for world in worlds) > 0.7 * best
    assert sum(at_most(*world) for world in worlds) < 1.05 * best


@pytest.mark.parametrize("known", [None, 800])
def test_what_the_simulator_says_is_what_an_independent_count_finds(known: int | None):
    luck = random.Random(17)
    rows = make_machines(80, luck)
    market = Market(rows, OfferIndex())
    market.fill(make_jobs(rows, 500, luck), 300, luck)
    epochs = list(run(market, make_jobs(rows, 160, luck), Plan(40, 300, 8, known), luck))
    said = account(rows, epochs)
    kept = [recounted(rows, epoch) for epoch in epochs]
    assert said.welfare == sum(kept)
    best = sum(optimum(as_it_began(rows, epoch), [fate.query for fate in epoch.fates]) for epoch in epochs)
    assert 0.95 * sum(kept) / best <= said.of_best <= sum(kept) / best
    could = [f for epoch in epochs for f in epoch.fates if any(fits(row, f.query) for row in as_it_began(rows, epoch))]
    assert said.could == len(could)
    assert said.served == pytest.approx(sum(f.handle >= 0 for f in could) / len(could))


def recounted(rows: Sequence[Row], epoch: Epoch) -> int:
    """What the requesters of an epoch keep, with every constraint and every slot checked on the way."""
    left = list(epoch.free)
    kept = 0
    for fate in epoch.fates:
        if fate.handle >= 0:
            row = rows[fate.handle]
            assert fits(row._replace(free=left[fate.handle]), fate.query)
            left[fate.handle] -= fate.query.slots
            kept += fate.query.slots * fate.query.max_price - fate.query.slots * row.price
    return kept


def as_it_began(rows: Sequence[Row], epoch: Epoch) -> list[Row]:
    return [row._replace(free=free) for row, free in zip(rows, epoch.free, strict=True)]
