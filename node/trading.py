"""A trading node over any ports: real ones in ``app``, simulated ones in the tests. Loads, then runs its tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from msgspec import Struct

from bootstrap.containment import contained
from node.buying import Buying, open_buying
from node.cached_images import CachedImages
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from node.round_trips import RoundTrips
from node.selling import Selling, open_selling
from node.surge import Surge
from node.trading_world import TradingSettings, World
from runtime.ports import ContainerEngine


class TradingNode(Struct, frozen=True, kw_only=True):
    """A running node: what it hears, what it buys, what it sells."""

    intake: OfferIntake
    buying: Buying
    selling: Selling | None


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
    selling = await open_selling(world, settings, intake, machines, engine) if machines and engine else None
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
            images = CachedImages(engine, machines, selling.poster.changed)
            await contained(images.refresh)  # before the first offer, or it would be posted twice
            nursery.start_soon(images.watch_forever)
            await stack.enter_async_context(selling.desk.working(selling.duties.perform))
            nursery.start_soon(selling.guard.watch_forever)
            nursery.start_soon(selling.poster.post_forever)
            nursery.start_soon(Surge(machines, selling.poster.changed).run_forever)
        else:
            # With nothing to sell it only takes back what an earlier run of this node had for sale.
            leftovers = OfferPoster([], world.network, intake, world.clock, signer=world.signer)
            nursery.start_soon(leftovers.post_forever)
        yield TradingNode(intake=intake, buying=buying, selling=selling)
        if selling is not None:
            await selling.poster.withdraw()
        nursery.cancel_scope.cancel()


__all__ = ["Buying", "Selling", "TradingNode", "TradingSettings", "World", "trading_node"]
