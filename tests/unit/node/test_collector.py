"""A payer that leaves is redeemed at once and its jobs end; the rest is redeemed when it is worth it, and only then."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.chain_watcher import ChainWatcher
from ledger.voucher import Domain, SessionKey, sign_voucher
from market import money
from market.errors import BrokenInvariant
from market.lease import OVER
from node.collector import Collector, RedeemPolicy
from node.gas_worth import GasWorth
from tests.fakes.lane_world import LaneWorld
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.mortal_journal import MortalJournal
from tests.simulation.marketplace import JobScript, Marketplace, Participant
from tests.simulation.test_cheats import LEASE, LONG, PRICE, TRAVEL_MS, play, until_running

A, B = b"a" * 16, b"b" * 16
WEI = 10**9
SOON_S = 3
"""Blocks come every second here, and an event is told with one on top; the engine stops in between."""


def leave(after_s: float, *, gas: bool = True) -> Any:
    """Start an exit by force while the job runs; without ``gas`` the provider cannot pay for a transaction."""

    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(after_s)
        if not gas:
            _take_gas(market.chain, seller)
        await buyer.node.buying.payer.begin_exit(seller.wallet.address, force=True)

    return act


def _take_gas(chain: MemoryChain, seller: Participant) -> None:
    chain._now().gas[seller.wallet.address] = 0


@pytest.mark.parametrize("after_s", [7, 23])
def test_a_payer_that_leaves_pays_what_it_signed_and_gets_no_more_work(after_s: int) -> None:
    seen = play(leave(after_s), job=JobScript(duration_ms=LONG))
    assert seen.stages <= OVER
    assert (seen.containers, seen.free_slots) == (0, 1)
    assert seen.earned > 0
    assert seen.worked - seen.earned <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)
    assert seen.ran_ms <= after_s * 1_000 + SOON_S * 1_000
    assert seen.spent == seen.earned + seen.lane.balance - seen.lane.claimed


def test_a_provider_that_cannot_pay_for_gas_goes_on() -> None:
    """What it holds is paid only because this payer closes the lane fairly; its node must live either way."""
    seen = play(leave(7, gas=False), job=JobScript(duration_ms=LONG))
    assert seen.stages <= OVER
    assert (seen.containers, seen.free_slots) == (0, 1)
    assert seen.spent == seen.earned


def test_lanes_without_a_stake_are_not_asked_about() -> None:
    async def act(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        at_stake.append(len(seller.node.selling.collector.lanes_at_stake()))
        await trio.sleep(200)
        at_stake.append(len(seller.node.selling.collector.lanes_at_stake()))

    at_stake: list[int] = []
    play(act, job=JobScript(duration_ms=10_000))
    assert at_stake == [1, 0]


class Fixture(LaneWorld):
    """A payee with its collector, and no jobs: what is redeemed, and when."""

    def start(self, *, coin_units: int = 0, cap: int = 10**6, deaf: bool = False) -> None:
        async def price() -> int:
            await trio.lowlevel.checkpoint()
            return WEI

        self.watcher = ChainWatcher(
            self.payee_chain,
            self.payee_journal,
            confirmations=1,
            first_block=None,
            poll_s=float("inf") if deaf else 1.0,
            now_ms=self.clock.now_ms,
            random=Random(5),
        )
        self.collector = Collector(
            {},
            self.payee,
            self.clock,
            watcher=self.watcher,
            policy=RedeemPolicy(exposure_cap=cap, idle_s=30),
            gas=GasWorth(price, coin_units),
        )

    async def run(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.watcher.run)
                nursery.start_soon(self.collector.work_forever)


@pytest.fixture
async def world() -> Fixture:
    world = Fixture()
    await world.funded(A, 100_000)
    world.start()
    return world


async def test_an_exit_is_answered_within_seconds_by_its_event(autojump_clock: MockClock, world: Fixture) -> None:
    await world.pay(A, 300)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run, 120)
        await trio.sleep(60)
        assert world.paid == 0
        await world.payer.begin_exit(world.lane.payee, force=True)
        await trio.sleep(40)
        assert world.paid == 300


async def test_an_exit_of_which_nothing_was_heard_is_found_in_time(autojump_clock: MockClock, world: Fixture) -> None:
    await world.pay(A, 300)
    world.start(deaf=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run, 3_000)
        await trio.sleep(60)
        await world.payer.begin_exit(world.lane.payee, force=True)
        await trio.sleep(world.payee.exit_delay_s / 4)
        assert world.paid == 300


async def test_much_at_stake_is_redeemed_during_the_lease(autojump_clock: MockClock, world: Fixture) -> None:
    world.start(cap=1_000)
    await world.pay(A, 1_000)
    await world.run(120)
    assert world.paid == 0
    await world.pay(A, 1_001)
    await world.run(120)
    assert world.paid == 1_001


async def test_little_waits_until_the_gas_is_half_a_percent_of_it(autojump_clock: MockClock, world: Fixture) -> None:
    # At 1 gwei, and 10^6 units for a coin, a redemption of one row costs 41 + 11 units.
    world.start(coin_units=10**6)
    await world.pay(A, 10_399)
    await world.run(120)
    assert world.paid == 0
    await world.pay(A, 10_400)
    await world.run(120)
    assert world.paid == 10_400


async def test_what_no_lease_uses_any_more_is_left_to_the_payer_and_then_redeemed(
    autojump_clock: MockClock, world: Fixture
) -> None:
    await world.pay(A, 70)
    await world.payee.release(A)
    await world.run(25)
    assert world.paid == 0
    await world.run(40)
    assert world.paid == 70


async def test_dust_is_never_worth_a_transaction(autojump_clock: MockClock, world: Fixture) -> None:
    world.start(coin_units=10**6)
    await world.pay(A, 52)
    await world.payee.release(A)
    gas = await world.payee_chain.gas_balance(world.lane.payee)
    await world.payer.begin_exit(world.lane.payee, force=True)
    await world.run(600)
    assert await world.collector.redeem_due(last=True) == 0
    assert await world.payee_chain.gas_balance(world.lane.payee) == gas
    assert await world.collector.redeem_due(forced=True) == 1
    assert world.paid == 52


async def test_before_a_downtime_everything_worth_it_is_redeemed_in_batches(
    autojump_clock: MockClock, world: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.collector.MAX_ROWS", 2)
    domain = Domain(world.payee_chain.chain_id, world.payee_chain.escrow)
    for index, amount in enumerate((10, 40, 20, 30, 5)):
        key = SessionKey(bytes([index + 50]) * 32)
        lane = replace(world.lane, signer=key.address)
        await world.payer_chain.deposit(lane.payee, lane.signer, 100)
        lease = bytes([index]) * 16
        assert await world.payee.admit(lease, lane, 100)
        await world.payee.accept(lease, amount, sign_voucher(key, domain, lane, amount))
    assert await world.collector.redeem_due() == 0
    assert world.collector.unredeemed() == 105
    assert await world.collector.redeem_due(last=True) == 5
    assert (world.paid, world.collector.unredeemed()) == (105, 0)
    redeemed = [event for event in await world.payee_chain.events(0, 10**6) if event.kind == "Redeemed"]
    assert [event.arguments["paid"] for event in redeemed] == [70, 30, 5]


async def test_what_somebody_else_redeemed_for_us_is_learnt_and_not_sent_again(
    autojump_clock: MockClock, world: Fixture
) -> None:
    await world.pay(A, 300)
    (voucher,) = world.payee.vouchers()
    await world.payer_chain.redeem_many(world.lane.payee, [voucher.row()])
    gas = await world.payee_chain.gas_balance(world.lane.payee)
    assert await world.collector.redeem_due(last=True) == 1
    assert world.collector.unredeemed() == 0
    assert await world.payee_chain.gas_balance(world.lane.payee) == gas


async def test_a_chain_that_is_away_for_minutes_delays_and_loses_nothing(
    autojump_clock: MockClock, world: Fixture
) -> None:
    await world.pay(A, 300)
    await world.payer.begin_exit(world.lane.payee, force=True)
    async with trio.open_nursery() as nursery:
        world.payee_chain.offline = True
        nursery.start_soon(world.run, 900)
        await trio.sleep(600)
        assert "does not answer" in world.collector.trouble
        world.payee_chain.offline = False
        await trio.sleep(120)
        assert (world.paid, world.collector.trouble) == (300, "")


async def test_whoever_waits_for_a_lane_hears_of_it(autojump_clock: MockClock, world: Fixture) -> None:
    await world.pay(A, 300)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run, 600)
        await trio.sleep(20)
        news = world.collector.news(world.lane)
        await world.payer_chain.deposit(world.lane.payee, world.lane.signer, 5)
        with trio.fail_after(10):
            await news.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("writes", range(4))
async def test_a_provider_killed_at_any_write_is_paid_once_and_all(
    autojump_clock: MockClock, world: Fixture, writes: int, kept: bool
) -> None:
    await world.pay(A, 300)
    await world.payer.begin_exit(world.lane.payee, force=True)
    world.payee_journal = mortal = MortalJournal(world.payee_journal, writes, kept=kept)
    await world.restart_payee()
    world.start()
    try:
        await world.run(120)
    except BaseExceptionGroup as group:
        assert group.subgroup(BrokenInvariant) is not None  # noqa: PT017 - it dies, or has nothing left to write
    assert mortal.died or writes >= 2
    await world.crash_payee()
    world.start()
    await world.run(120)
    assert world.paid == 300
    assert world.collector.unredeemed() == 0
