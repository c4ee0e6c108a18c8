"""Counting with rivals for many bids at once is what market.rivals does for each."""

from __future__ import annotations

import random

from market.matching import MAX_SHORTLIST
from market.offer_index import OfferIndex
from market.rivals import FEW, lot_of, replay
from market.simulation.rivalry import Burst, overheard, wishes_among_rivals
from market.simulation.world import make_jobs, make_machines
from tests.fakes.simulated import a_job, a_machine


def always() -> bool:
    return True


def a_burst(machines: int, bids: int, seed: int) -> tuple[OfferIndex, Burst]:
    """Every bid is another requester's."""
    luck = random.Random(seed)
    rows, view = make_machines(machines, luck), OfferIndex()
    for row in rows:
        view.put(row)
    jobs = list(make_jobs(rows, bids, luck))
    plain = [[handle for _, handle in view.top(job, MAX_SHORTLIST)] for job in jobs]
    return view, Burst(rows, jobs, range(bids), plain)


def test_it_is_what_each_would_have_found_for_itself():
    view, burst = a_burst(150, 150, seed=1)
    found = wishes_among_rivals(view, burst, always)
    turns = [(0, lot_of(job.tie.to_bytes(8, "big"))) for job in burst.bids]
    public = [overheard(job) for job in burst.bids]
    compared = 0
    for place, job in enumerate(burst.bids):
        if found[place] == burst.wishes[place]:
            continue  # few rivals, or none that matter
        rivals = [(turns[other], public[other]) for other in range(150) if other != place]
        left = [handle for _, handle in replay(view, job, turns[place], rivals, MAX_SHORTLIST)]
        assert found[place] == list(dict.fromkeys(left + burst.wishes[place]))
        compared += 1
    assert compared > 10


def test_the_picture_is_afterwards_as_it_was():
    view, burst = a_burst(80, 60, seed=2)
    before = sorted((row.handle, row.free) for row in view.rows())
    wishes_among_rivals(view, burst, always)
    assert sorted((row.handle, row.free) for row in view.rows()) == before


def test_who_hears_of_nobody_or_of_few_asks_as_if_alone():
    view, burst = a_burst(80, 60, seed=3)
    assert wishes_among_rivals(view, burst, lambda: False) == list(burst.wishes)
    few = burst._replace(bids=burst.bids[: FEW + 1], owners=range(FEW + 1), wishes=burst.wishes[: FEW + 1])
    assert wishes_among_rivals(view, few, always) == list(few.wishes)


def test_those_who_know_of_each_other_ask_different_machines():
    view = OfferIndex()
    rows = [a_machine(handle, price=100 + handle) for handle in range(9)]
    for row in rows:
        view.put(row)
    jobs = [a_job(tie) for tie in range(9)]
    burst = Burst(rows, jobs, range(9), [list(range(9))] * 9)
    assert sorted(wish[0] for wish in wishes_among_rivals(view, burst, always)) == list(range(9))


def test_a_rival_is_told_neither_cap_nor_job():
    job = a_job(1, max_price=5, max_rtt_us=6, image_mib=7, moved_mib=8, deny=frozenset({9}), work_ms=10, w_latency=11)
    assert overheard(job) == overheard(a_job(1))
