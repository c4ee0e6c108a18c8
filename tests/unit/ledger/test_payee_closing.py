"""The payee beside a close: what is confirmed, and what is money, when a lane ends and begins again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from market.errors import FabricError
from tests.fakes.lane_world import LaneWorld

A, B = b"a" * 16, b"b" * 16


@pytest.fixture
async def world() -> LaneWorld:
    return LaneWorld()


async def code_of(call: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(FabricError) as refused:
        await call()
    return refused.value.code


async def test_a_deposit_after_a_close_is_not_confirmed_by_the_one_before_it(autojump_clock: MockClock) -> None:
    world = LaneWorld(confirmations=2)
    await world.funded(A, 100)
    for side in (world.payer, world.payee):
        await side.release(A)
    proposal = await world.payer.start_close(world.lane.payee)
    consent = await world.payee.consent_close(proposal.lane, proposal.cumulative, proposal.deadline_s)
    hasty = world.chain.view(world.lane.payer, confirmations=0)
    await hasty.close_together(
        world.lane, cumulative=0, deadline_s=proposal.deadline_s, payee_signature=consent, payer_signature=b""
    )
    await hasty.deposit(world.lane.payee, world.lane.signer, 100)

    assert not await world.payee.admit(B, world.lane, 100)
    await trio.sleep(2)
    assert await world.payee.admit(B, world.lane, 100)


async def test_a_late_voucher_is_no_money_while_the_lane_may_close_below_it(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    taken, late = await world.payer.acknowledge(A, 30), await world.payer.acknowledge(A, 50)
    await world.payee.accept(A, 30, taken)
    await world.payee.release(A)
    now_s = (await world.payee_chain.head()).timestamp
    consent = await world.payee.consent_close(world.lane, 30, now_s + 600)

    assert await code_of(lambda: world.payee.accept(A, 50, late)) == "lane_closing"
    await world.payee.accept(A, 30, taken)  # A replay asks for nothing more.
    await world.payer_chain.close_together(
        world.lane, cumulative=30, deadline_s=now_s + 600, payee_signature=consent, payer_signature=b""
    )
    await trio.sleep(700)
    assert await code_of(lambda: world.payee.accept(A, 50, late)) == "over_balance"
    assert (world.paid, world.payee.owed_cumulative(world.lane)) == (30, 30)


async def test_a_late_voucher_counts_again_when_the_consent_is_over(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    late = await world.payer.acknowledge(A, 50)
    await world.payee.release(A)
    now_s = (await world.payee_chain.head()).timestamp
    await world.payee.consent_close(world.lane, 0, now_s + 600)
    await trio.sleep(700)

    await world.payee.accept(A, 50, late)
    await world.payee.redeem()
    assert world.paid == 50
