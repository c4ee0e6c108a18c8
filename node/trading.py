"""A trading node over any ports: real ones in ``app``, simulated ones in the tests. Loads, then runs its tasks."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import trio
from msgspec import Struct

from bootstrap.containment import contained
from ledger.chain_watcher import ChainWatcher
from ledger.voucher import Domain
from ledger.watch_book import WatchBook
from market.errors import Unavailable
from node.buying import Buying, open_buying
from node.cached_images import CachedImages
from node.collector import Collector
from node.gas_worth import GasWorth
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from node.round_trips import RoundTrips
from node.selling import Selling, open_leftovers, open_selling
from node.surge import Surge
from node.trading_world import TradingSettings, World
from node.watchtower import Watchtower
from runtime.ports import ContainerEngine

log = logging.getLogger(__name__)


class TradingNode(Struct, frozen=True, kw_only=True):
    """A running node: what it hears, what it buys, what it sells, and whose vouchers it holds."""

    intake: OfferIntake
    buying: Buying
    selling: Selling | None
    tower: Watchtower | None


@asynccontextmanager
async def trading_node(
    world: World, settings: TradingSettings, *, machines: list[Machine], engine: ContainerEngine | None
) -> AsyncIterator[TradingNode]:
    """Run a node until the block is left; its offers are taken back then. Everything it had begun goes on at the next
    start.

    Args:
        machines: what to sell; empty for a pure requester.
        engine: where jobs run; required with machines.
    """
    intake = OfferIntake(world.network, world.clock)
    intake.register()
    buying = await open_buying(world, settings, intake)
    watcher, selling, leftovers = _watcher(world, settings), None, None
    if machines and engine:
        selling = await open_selling(world, settings, intake, machines, engine, watcher=watcher)
    tower = await _open_tower(world, settings, watcher) if settings.watch.serve else None
    trips = RoundTrips(world.network, providers=intake.book.providers, learned=buying.experience.round_trip)
    trips.register()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        await stack.enter_async_context(buying.auctioneer.working())
        await stack.enter_async_context(buying.desk.working(buying.duties.perform))
        nursery.start_soon(intake.catch_up_forever)
        nursery.start_soon(trips.measure_forever)
        if settings.close_lanes:
            nursery.start_soon(buying.lanes.sweep_forever)
        if selling is not None and engine is not None:
            await _start_selling(selling, engine, stack, nursery)
        else:
            # With nothing to sell it only takes back what an earlier run of this node had for sale, and is owed.
            nursery.start_soon(OfferPoster([], world.network, intake, world.clock, signer=world.signer).post_forever)
            leftovers = await open_leftovers(world, settings, watcher)
        _start_watching(nursery, watcher, selling.collector if selling else leftovers, tower)
        if tower is not None:
            nursery.start_soon(_warn_without_gas, world)
        yield TradingNode(intake=intake, buying=buying, selling=selling, tower=tower)
        if selling is not None:
            await selling.poster.withdraw()
        nursery.cancel_scope.cancel()


async def _start_selling(
    selling: Selling, engine: ContainerEngine, stack: AsyncExitStack, nursery: trio.Nursery
) -> None:
    machines, changed = selling.machines, selling.poster.changed
    images = CachedImages(engine, machines, changed)
    await contained(images.refresh)  # before the first offer, or it would be posted twice
    nursery.start_soon(images.watch_forever)
    await stack.enter_async_context(selling.desk.working(selling.duties.perform))
    nursery.start_soon(selling.hand_over.hand_over_forever)
    nursery.start_soon(selling.poster.post_forever)
    nursery.start_soon(Surge(machines, changed).run_forever)


def _start_watching(nursery: trio.Nursery, watcher: ChainWatcher, *listeners: Collector | Watchtower | None) -> None:
    awake = [one for one in listeners if one is not None]
    for one in awake:
        nursery.start_soon(one.work_forever)
    if awake:  # otherwise nobody asks for what the escrow has to say
        nursery.start_soon(watcher.run)


async def _warn_without_gas(world: World) -> None:
    """A watchtower that cannot pay gas saves nobody. Its clients rely on it, so its owner hears of it at the start."""
    with suppress(Unavailable):
        account = world.chain.account
        if not await world.chain.gas_balance(account):
            log.warning(
                "the watchtower's wallet 0x%s has no gas: it can redeem nothing until you send some", account.hex()
            )


def _watcher(world: World, settings: TradingSettings) -> ChainWatcher:
    """One for all who want to hear of the escrow. What is older they see for themselves when they start."""
    return ChainWatcher(
        world.chain,
        world.journal,
        confirmations=settings.confirmations,
        first_block=None,
        poll_s=settings.poll_s,
        now_ms=world.clock.now_ms,
        random=world.rng,
    )


async def _open_tower(world: World, settings: TradingSettings, watcher: ChainWatcher) -> Watchtower:
    domain = Domain(world.chain.chain_id, world.chain.escrow)
    book = WatchBook(world.journal, domain, per_peer=settings.watch.places)
    await book.load()
    tower = Watchtower(
        book,
        world.chain,
        world.network,
        watcher=watcher,
        gas=GasWorth(world.gas_price, settings.coin_units),
        clients=settings.watch.clients,
        confirmations=settings.confirmations,
    )
    tower.register()
    return tower


__all__ = ["Buying", "Selling", "TradingNode", "TradingSettings", "World", "trading_node"]
