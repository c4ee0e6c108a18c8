"""Which bids compete with one of ours, and when those of one burst were heard."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from market.matching import shortlist
from market.offer_row import Row
from market.records import Requirements
from market.rivals import FEW, MAX_RIVALS, MOMENT_MS
from node import wire
from node.rival_bids import QUIET_S, SETTLE_MOST_S, RivalBids
from tests.fakes.sales import Sale, a_rival_bid, an_offer_by
from tests.fakes.samples import an_ask
from tests.simulation.marketplace import START_MS

OURS = a_rival_bid(999)


class Watch:
    """A node that hears bids, with one free machine in its book."""

    def __init__(self) -> None:
        self.sale = Sale(an_offer_by(0))
        self.rivals = RivalBids(self.sale.intake, self.sale.clock)

    def hear(self, *numbers: int, **changes: object) -> None:
        for number in numbers:
            self.sale.hear(a_rival_bid(number, **changes))

    def still_open(self) -> list[int]:
        found = self.rivals.still_open(but=[OURS])
        return [int.from_bytes(bid.record.bid_id, "little") for bid in found]

    def rows(self) -> list[Row]:
        return [match.row for match in shortlist(self.sale.intake.book, an_ask(), now=START_MS).matches]

    def are_many(self) -> bool:
        return self.rivals.are_many(an_ask(), self.rows())

    async def settle(self) -> None:
        await self.rivals.settle(an_ask(), self.rows())


@pytest.fixture
async def watch(autojump_clock: MockClock) -> Watch:
    return Watch()


SOLD = {"free_slots": 1, "total_slots": 2}
"""A machine that has granted something shows fewer free slots than it has."""


async def test_bids_that_were_heard_are_rivals_and_so_are_our_own_other_ones(autojump_clock: MockClock, watch: Watch):
    watch.hear(1, 2)
    with watch.rivals.bidding(a_rival_bid(3)), watch.rivals.bidding(OURS):
        assert watch.still_open() == [1, 2, 3]
    assert watch.still_open() == [1, 2], "an auction that is over has no bid any more"


async def test_a_bid_is_a_rival_for_some_seconds_only(autojump_clock: MockClock, watch: Watch):
    watch.hear(1)
    await trio.sleep(wire.RIVAL_MS / 1000 - 1)
    watch.hear(2, issued_at=watch.sale.clock.now_ms(), expires_at=START_MS + 60_000)
    assert watch.still_open() == [1, 2]
    await trio.sleep(1)
    assert watch.still_open() == [2]


async def test_a_bid_from_a_far_future_is_no_rival(autojump_clock: MockClock, watch: Watch):
    watch.hear(1, issued_at=START_MS + wire.RIVAL_MS, expires_at=START_MS + 90_000)
    assert watch.still_open() == []


async def test_who_was_granted_slots_is_no_rival_for_the_rest(autojump_clock: MockClock, watch: Watch):
    watch.hear(1, 2)
    watch.sale.intake.take(an_offer_by(0, version=2, granted=(a_rival_bid(1).record.bid_id[:8],), **SOLD))
    assert watch.still_open() == [2]


@pytest.mark.parametrize("tag", [{}, {"free_slots": 1, "total_slots": 2, "gpu": "none", "vram_mib": 0}])
async def test_a_tag_that_could_not_have_served_a_bid_silences_nobody(
    autojump_clock: MockClock, watch: Watch, tag: dict[str, Any]
):
    """Nothing of the one is sold, the other has no card: whoever wrote the name there was not granting anything."""
    watch.hear(1, requirements=Requirements(vram_mib=1))
    watch.sale.intake.take(an_offer_by(0, version=2, granted=(a_rival_bid(1).record.bid_id[:8],), **tag))
    assert watch.still_open() == [1]


async def test_of_a_job_that_bids_again_only_the_newest_bid_counts(autojump_clock: MockClock, watch: Watch):
    job = {"requester": a_rival_bid(1).signer, "spec_hash": b"j" * 32}
    signed = [a_rival_bid(1, **job, bid_id=bytes([number]) * 16, issued_at=START_MS + number) for number in (5, 7, 6)]
    watch.sale.hear(*signed)
    assert [bid.record.bid_id[0] for bid in watch.rivals.still_open(but=[OURS])] == [7]


async def test_of_too_many_those_heard_last_count(autojump_clock: MockClock, watch: Watch):
    watch.hear(*range(MAX_RIVALS + 3), spec_hash=b"x" * 32)
    assert watch.still_open() == list(range(3, MAX_RIVALS + 3))


async def test_many_are_more_than_a_few_for_the_same_machines(autojump_clock: MockClock, watch: Watch):
    watch.hear(*range(20, 40), requirements=Requirements(gpus=("A100",)))
    watch.hear(*range(FEW))
    assert not watch.are_many()
    watch.hear(FEW)
    assert watch.are_many()


async def test_a_market_is_crowded_also_when_all_the_others_were_served(autojump_clock: MockClock, watch: Watch):
    watch.hear(*range(FEW + 1))
    granted = tuple(a_rival_bid(number).record.bid_id[:8] for number in range(FEW + 1))
    watch.sale.intake.take(an_offer_by(0, version=2, granted=granted, **SOLD))
    assert (watch.still_open(), watch.are_many()) == ([], True)


async def test_bursts_come_in_rows(autojump_clock: MockClock, watch: Watch):
    watch.hear(*range(FEW + 1))
    await trio.sleep(50)
    assert (watch.still_open(), watch.are_many()) == ([], True)
    await trio.sleep(10)
    assert not watch.are_many(), "a minute later nobody knows"


async def test_bids_that_trickle_in_are_no_burst(autojump_clock: MockClock, watch: Watch):
    for number in range(3 * FEW):
        watch.hear(number, issued_at=watch.sale.clock.now_ms(), expires_at=watch.sale.clock.now_ms() + 60_000)
        assert not watch.are_many()
        await trio.sleep(wire.RIVAL_MS / 1000 / FEW)


async def test_settling_ends_when_nothing_new_is_heard(autojump_clock: MockClock, watch: Watch):
    async def keep_bidding() -> None:
        for number in range(4):
            watch.hear(number)
            await trio.sleep(0.9 * QUIET_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_bidding)
        await trio.lowlevel.checkpoint()
        await watch.settle()
        assert watch.still_open() == [0, 1, 2, 3]


async def settling_among(watch: Watch, **changes: object) -> float:
    """How long a bid waits while somebody goes on inventing new ones."""

    async def invent_forever() -> None:
        for number in count():
            watch.hear(number, **changes)
            await trio.sleep(0.1)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(invent_forever)
        await trio.lowlevel.checkpoint()
        await watch.settle()
        nursery.cancel_scope.cancel()
    return trio.current_time() - began


async def test_invented_bids_hold_a_bid_up_for_a_second_only(autojump_clock: MockClock, watch: Watch):
    waited = await settling_among(watch)
    assert MOMENT_MS / 1000 + QUIET_S < waited < MOMENT_MS / 1000 + 1.01


async def test_bids_for_something_else_hold_nobody_up(autojump_clock: MockClock, watch: Watch):
    waited = await settling_among(watch, requirements=Requirements(gpus=("A100",)))
    assert waited < MOMENT_MS / 1000 + QUIET_S + 0.01


async def test_a_clock_that_jumps_does_not_hold_a_bid_up(autojump_clock: MockClock, watch: Watch):
    times = iter([START_MS, *[START_MS + 3_600_000] * 100])
    watch.sale.clock.now_ms = lambda: next(times)  # type: ignore[method-assign]
    await watch.rivals.settle(an_ask(), [])
    assert trio.current_time() <= SETTLE_MOST_S
