"""The compiled escrow on a real EVM: a provider is gone for good, its payer leaves, its tower brings the money in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from random import Random

import pytest
import trio
import trio.lowlevel

from ledger.chain_watcher import ChainWatcher
from ledger.payee import Payee
from ledger.payer import Payer
from ledger.ports import Chain
from ledger.voucher import Domain, SessionKey
from ledger.watch_book import WatchBook
from node.collector import Collector, RedeemPolicy
from node.gas_worth import GasWorth
from node.hand_over import HandOver
from node.system_clock import SystemClock
from node.watchtower import Watchtower
from tests.fakes.chain_worlds import EXIT_DELAY_S, ChainWorld, open_chain_world
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.watch_world import TOWER, Line

pytestmark = pytest.mark.chain

PAYER_SECRET, PAYEE_SECRET, TOWER_SECRET = b"\x61" * 32, b"\x62" * 32, b"\x63" * 32
PAYER, PAYEE, GUARD = SessionKey(PAYER_SECRET), SessionKey(PAYEE_SECRET), SessionKey(TOWER_SECRET)
SESSION = SessionKey(b"\x64" * 32)
LEASE = b"l" * 16
PATIENCE_S = 30


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(params=["embedded", "anvil"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[ChainWorld]:
    async with open_chain_world(request.param) as opened:
        yield opened


async def earn(world: ChainWorld) -> tuple[Payer, Payee, Chain]:
    """A lease of which 300 of 1000 units are signed for."""
    chain = await world.open(PAYER, PAYER_SECRET)
    payer = Payer(chain, MemoryJournal(), SESSION, now_ms)
    payee = Payee(await world.open(PAYEE, PAYEE_SECRET, units=0), MemoryJournal(), PAYEE, now_ms, confirmations=0)
    await payer.reserve(LEASE, PAYEE.address, 1_000)
    await payer.ensure_funded(LEASE)
    assert await payee.admit(LEASE, payer.lane(PAYEE.address), 1_000)
    await payee.accept(LEASE, 300, await payer.acknowledge(LEASE, 300))
    return payer, payee, chain


def watcher_of(chain: Chain, journal: MemoryJournal) -> ChainWatcher:
    return ChainWatcher(chain, journal, confirmations=0, first_block=None, poll_s=0.1, now_ms=now_ms, random=Random(1))


async def until_paid(chain: Chain, units: int) -> None:
    with trio.fail_after(PATIENCE_S):
        while await chain.token_balance(PAYEE.address) < units:
            await trio.sleep(0.1)


async def test_a_tower_saves_the_money_of_a_provider_that_is_gone(world: ChainWorld) -> None:
    payer, payee, chain = await earn(world)
    tower_chain, journal, line = await world.open(GUARD, TOWER_SECRET, units=0), MemoryJournal(), Line()
    book = WatchBook(journal, Domain(chain.chain_id, chain.escrow), per_peer=8)
    watcher = watcher_of(tower_chain, journal)
    network: object = line
    tower = Watchtower(
        book,
        tower_chain,
        network,
        watcher=watcher,
        gas=GasWorth(None, 0),
        confirmations=0,  # type: ignore[arg-type]
    )
    tower.register()
    await HandOver(payee, network, {TOWER: ()}, Random(1)).hand_over(TOWER)  # type: ignore[arg-type]
    del payee
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        nursery.start_soon(tower.work_forever)
        await payer.begin_exit(PAYEE.address, force=True)
        await until_paid(chain, 300)
        with trio.fail_after(PATIENCE_S):
            while not tower.view().saved:
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    await world.leap(EXIT_DELAY_S + 1)
    with trio.fail_after(PATIENCE_S):
        while await payer.finish_exit_when_due(PAYEE.address) is None:
            await trio.sleep(0.1)
    lane = await chain.lane(payer.lane(PAYEE.address))
    assert lane.balance == lane.claimed == 300
    assert await chain.token_balance(PAYER.address) == 10**9 - 300
    assert await chain.token_balance(GUARD.address) == 0
    assert tower.view().saved == 300


async def test_a_provider_that_is_there_redeems_by_itself_as_soon_as_it_hears_of_the_exit(world: ChainWorld) -> None:
    payer, payee, chain = await earn(world)
    journal = MemoryJournal()
    watcher = watcher_of(payee._chain, journal)
    collector = Collector(
        {},
        payee,
        SystemClock(),
        watcher=watcher,
        policy=RedeemPolicy(),
        gas=GasWorth(None, 0),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        nursery.start_soon(collector.work_forever)
        await trio.lowlevel.checkpoint()
        await payer.begin_exit(PAYEE.address, force=True)
        await until_paid(chain, 300)
        with trio.fail_after(PATIENCE_S):
            while collector.unredeemed():
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
