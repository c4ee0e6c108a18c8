"""Made-up worlds: the same seed makes the same one, and what is made can meet."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from market.offer_row import fits
from market.simulation.world import CARDS, LAWS, MIXED, REGIONS, make_jobs, make_machines
from market.strategies import STRATEGIES


def test_a_seed_names_a_world():
    assert make_machines(50, random.Random(1)) == make_machines(50, random.Random(1))
    assert make_machines(50, random.Random(1)) != make_machines(50, random.Random(2))
    rows = make_machines(50, random.Random(1))
    assert [*make_jobs(rows, 50, random.Random(1))] == [*make_jobs(rows, 50, random.Random(1))]


def test_a_handle_is_the_place_in_the_list():
    rows = make_machines(200, random.Random(3))
    assert [row.handle for row in rows] == list(range(200))
    assert len({row.id for row in rows}) == 200


def test_every_region_is_under_one_law():
    for row in make_machines(300, random.Random(5)):
        region = row.region.bit_length() - 1
        assert region in LAWS[row.jurisdiction.bit_length() - 1]
        assert region < REGIONS


def test_jobs_ask_for_one_model_or_for_all_with_as_much_memory():
    rows = make_machines(300, random.Random(7))
    kinds: Counter[bool] = Counter()
    for job in make_jobs(rows, 300, random.Random(7)):
        least = min(CARDS[klass].gib for klass in job.classes)
        all_as_large = tuple(place for place, card in enumerate(CARDS) if card.gib >= least)
        kinds[len(job.classes) == 1] += 1
        assert len(job.classes) == 1 or job.classes == all_as_large
    assert min(kinds.values()) > 30


def test_many_jobs_find_a_machine_and_many_do_not():
    rows = make_machines(300, random.Random(9))
    served = sum(any(fits(row, job) for row in rows) for job in make_jobs(rows, 300, random.Random(9)))
    assert 100 < served < 300


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_every_jobs(name: str):
    jobs = make_jobs(make_machines(10, random.Random(1)), 20, random.Random(1), name)
    assert {(job.w_cost, job.w_speed, job.w_reliability, job.w_latency) for job in jobs} == {STRATEGIES[name]}


def test_mixed_draws_from_all_strategies():
    jobs = make_jobs(make_machines(10, random.Random(1)), 200, random.Random(1), MIXED)
    assert {(job.w_cost, job.w_speed, job.w_reliability, job.w_latency) for job in jobs} == {*STRATEGIES.values()}
