"""A lease that is given back at once is no lapse: its requester waits a little, and never longer than the last time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from market.lease import CancelRequested
from market.records import Lease
from market.signing import verify
from node.grant_limits import FIRST_PAUSE_MS, GIVEN_BACK_MS
from tests.fakes.desks import Seller, a_seller
from tests.unit.node.test_provider import refusal_in


async def buy(seller: Seller, number: int) -> Any:
    seller.tag = seller.machine.post(seller.clock.now, ())
    return await seller.answer(seller.award(bid_id=number.to_bytes(16, "big")))


async def take_and_return(seller: Seller, number: int, *, after_ms: int) -> None:
    lease = verify((await buy(seller, number))["lease"], Lease).record
    seller.clock.now += after_ms
    await seller.desk.boards[lease.lease_id].record(CancelRequested(at=seller.clock.now))
    await trio.testing.wait_all_tasks_blocked()
    assert seller.machine.inventory.free_slots == 2


async def test_who_gives_back_at_once_may_come_again_soon_however_often(autojump_clock: MockClock):
    async with a_seller() as seller:
        for number in range(8):
            await take_and_return(seller, number, after_ms=200)
            assert refusal_in(await buy(seller, 100 + number))[0] == "not_admitted"
            seller.clock.now += FIRST_PAUSE_MS


@pytest.mark.parametrize(("held_ms", "is_lapse"), [(GIVEN_BACK_MS, False), (GIVEN_BACK_MS + 1, True)])
async def test_who_holds_slots_for_long_waits_longer_each_time(autojump_clock: MockClock, held_ms: int, is_lapse: bool):
    async with a_seller() as seller:
        for number in range(2):
            await take_and_return(seller, number, after_ms=held_ms)
            seller.clock.now += FIRST_PAUSE_MS
        answer = await buy(seller, 100)
        assert ("refusal" in answer) is is_lapse
