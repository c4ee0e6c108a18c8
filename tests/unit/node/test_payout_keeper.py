"""Earnings are looked after: what stands in the way is told once, and does not take the node down."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock

from ledger.payout_rules import PayoutPlan
from ledger.payouts import Payouts
from node.payout_keeper import PayoutKeeper
from tests.fakes.lane_world import LaneWorld
from tests.fakes.memory_tokens import MemoryTokens

OWNER, LEASE = b"\x0a" * 20, b"l" * 16


async def keeper_of(world: LaneWorld) -> PayoutKeeper:
    plan = PayoutPlan(to=OWNER, threshold=100)
    domain, now_ms = world.chain.domain, world.clock.now_ms
    payouts = Payouts(MemoryTokens(world.payee_chain), world.payee_journal, plan, domain, now_ms)
    await payouts.load()
    return PayoutKeeper(payouts, world.payee_journal, domain, now_ms)


async def test_what_lanes_paid_goes_to_the_owner_and_nothing_before(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    keeper = await keeper_of(world)
    await world.funded(LEASE, 1_000)
    await world.pay(LEASE, 250)
    await keeper.look()
    assert await keeper.earned() == 0  # a voucher is no money yet
    await world.payee.redeem()
    await trio.sleep(5)
    await world.payee.lane_on_chain(world.lane)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run_forever)
        await trio.sleep(40)
        nursery.cancel_scope.cancel()
    assert await keeper.earned() == 250
    assert (world.tokens(OWNER), world.paid) == (250, 0)


async def test_what_an_earlier_wallet_earned_is_not_sent_from_the_new_one(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.funded(LEASE, 1_000)
    await world.pay(LEASE, 250)
    await world.payee.redeem()
    await trio.sleep(5)
    await world.payee.lane_on_chain(world.lane)
    new = world.chain.view(b"\x99" * 20)
    world.chain.mint(new.account, 1_000)
    plan, domain, now_ms = PayoutPlan(to=OWNER, threshold=1), world.chain.domain, world.clock.now_ms
    payouts = Payouts(MemoryTokens(new), world.payee_journal, plan, domain, now_ms)
    keeper = PayoutKeeper(payouts, world.payee_journal, domain, now_ms)
    assert await keeper.earned() == 0
    await keeper.look()
    assert world.tokens(OWNER) == 0


async def test_trouble_is_told_once_and_tried_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    world = LaneWorld()
    keeper = await keeper_of(world)
    world.payee_chain.offline = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await keeper.look()
    assert len(caplog.records) == 1
    world.payee_chain.offline = False
    await keeper.look()
    world.payee_chain.offline = True
    with caplog.at_level(logging.WARNING):
        await keeper.look()
    assert len(caplog.records) == 2
