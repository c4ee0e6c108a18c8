"""Surplus, and a bound on it that really bounds."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from market.offer_row import Query, Row, fits
from market.simulation.welfare import at_most, surplus, worth
from tests.fakes.simulated import a_job, a_machine


def best_by_trying_all(rows: Sequence[Row], jobs: Sequence[Query]) -> int:
    best = 0
    for places in itertools.product(range(-1, len(rows)), repeat=len(jobs)):
        left = [row.free for row in rows]
        total = 0
        for job, place in zip(jobs, places, strict=True):
            if place >= 0:
                left[place] -= job.slots
                total += surplus(rows[place], job)
                if left[place] < 0 or not fits(rows[place], job):
                    break
        else:
            best = max(best, total)
    return best


def test_surplus_is_what_is_kept_of_the_cap_for_every_slot():
    assert surplus(a_machine(0, price=120), a_job(max_price=200, slots=3)) == 240


def test_only_who_got_something_adds_to_the_worth():
    rows = [a_machine(0, price=50), a_machine(1, price=150)]
    assert worth(rows, [(a_job(), 0), (a_job(), -1), (a_job(slots=2), 1)]) == 150 + 100


@pytest.mark.parametrize("seed", range(30))
def test_no_allocation_is_worth_more_than_the_bound(seed: int):
    luck = random.Random(seed)
    rows = [a_machine(place, price=luck.randrange(50, 150), free=luck.choice([1, 2, 4])) for place in range(3)]
    jobs = [a_job(slots=luck.choice([1, 1, 2, 4]), max_price=luck.randrange(60, 200)) for _ in range(5)]
    best = best_by_trying_all(rows, jobs)
    alone = sum(max(0, *(surplus(row, job) for row in rows if fits(row, job)), 0) for job in jobs)
    assert best <= at_most(rows, jobs) <= alone
    assert at_most(rows, jobs) <= 2 * best


def test_where_all_fit_the_bound_is_what_they_keep():
    rows = [a_machine(0, price=100, free=3)]
    assert at_most(rows, [a_job(max_price=150), a_job(max_price=120)]) == 70


def test_nothing_is_possible_where_nothing_fits():
    assert at_most([a_machine(0, price=500)], [a_job()]) == 0
    assert at_most([], []) == 0
