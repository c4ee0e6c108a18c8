"""Puts the parts of a trading node together over any ports: real ones in ``app``, simulated ones in the tests.

Only wiring lives here: who knows whom, in which order things load, and which tasks run for ever.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio
from msgspec import Struct

from ledger.payee import Payee, Wallet
from ledger.payer import Payer
from ledger.ports import Chain, Journal
from ledger.voucher import SessionKey
from market.signing import Signer
from node.auction import Auctioneer, Purse
from node.lane_history import LaneHistory
from node.lane_keeper import LaneKeeper
from node.lease_files import LeaseFiles
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from node.ports import Clock, Network
from node.provider import ProviderDesk
from node.provider_duties import ProviderDuties
from node.provider_streams import ProviderStreams
from node.report_desk import ReportDesk
from node.requester import RequesterDesk
from node.requester_duties import RequesterDuties
from node.requester_files import RequesterFiles
from runtime.ports import ContainerEngine
from runtime.supervisor import tidy_up


class TradingSettings(Struct, frozen=True, kw_only=True):
    """How patient a node is. Seconds, except ``confirmations`` in blocks.

    ``poll_s`` is how often the chain is asked while something is awaited; ``settle_patience_s`` how long a provider
    leaves it to the requester to close the lane; ``close_patience_s`` how long a requester asks an absent provider.
    """

    poll_s: float = 2.0
    settle_patience_s: float = 30.0
    close_patience_s: float = 60.0
    confirmations: int = 1
    close_lanes: bool = True
    start_block: int = 0


class World(Struct, frozen=True, kw_only=True):
    """The ports and keys a trading node works with."""

    network: Network
    journal: Journal
    chain: Chain
    clock: Clock
    rng: random.Random
    signer: Signer
    session_key: SessionKey
    wallet: Wallet
    folder: Path


class Buying(Struct, frozen=True, kw_only=True):
    """The requester's half of a node."""

    desk: RequesterDesk
    duties: RequesterDuties
    payer: Payer
    lanes: LaneKeeper
    files: RequesterFiles
    history: LaneHistory
    auctioneer: Auctioneer
    purse: Purse


class Selling(Struct, frozen=True, kw_only=True):
    """The provider's half of a node."""

    desk: ProviderDesk
    duties: ProviderDuties
    poster: OfferPoster
    payee: Payee
    machines: list[Machine]


class TradingNode(Struct, frozen=True, kw_only=True):
    """A running node: what it hears, what it buys, what it sells."""

    intake: OfferIntake
    buying: Buying
    selling: Selling | None


@asynccontextmanager
async def trading_node(
    world: World, settings: TradingSettings, *, machines: list[Machine], engine: ContainerEngine | None
) -> AsyncIterator[TradingNode]:
    """Run a node until the block is left. Everything it had begun goes on at the next start.

    Args:
        machines: what to sell; empty for a pure requester.
        engine: where jobs run; required with machines.
    """
    intake = OfferIntake(world.network, world.clock)
    intake.register()
    buying = await _open_buying(world, settings, intake)
    selling = await _open_selling(world, settings, intake, machines, engine) if machines and engine else None
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        await stack.enter_async_context(buying.desk.working(buying.duties.perform))
        nursery.start_soon(intake.catch_up_forever)
        if settings.close_lanes:
            nursery.start_soon(buying.lanes.sweep_forever)
        if selling is not None:
            await stack.enter_async_context(selling.desk.working(selling.duties.perform))
            nursery.start_soon(selling.poster.post_forever)
        yield TradingNode(intake=intake, buying=buying, selling=selling)
        nursery.cancel_scope.cancel()


async def _open_buying(world: World, settings: TradingSettings, intake: OfferIntake) -> Buying:
    payer = Payer(
        world.chain,
        world.journal,
        world.session_key,
        world.clock.now_ms,
        confirmations=settings.confirmations,
    )
    await payer.load()
    purse = Purse(
        payer=world.chain.account,
        signer=world.session_key.address,
        chain_id=world.chain.chain_id,
        escrow=world.chain.escrow,
    )
    files = RequesterFiles(world.folder / "jobs", world.network)
    auctioneer = Auctioneer(
        signer=world.signer, network=world.network, intake=intake, clock=world.clock, rng=world.rng, purse=purse
    )
    desk = RequesterDesk(auctioneer, journal=world.journal, clock=world.clock, files=files, purse=purse, rng=world.rng)
    reports = ReportDesk(desk.boards, payer=payer, network=world.network, clock=world.clock)
    reports.register()
    lanes = LaneKeeper(payer=payer, chain=world.chain, network=world.network, patience_s=settings.close_patience_s)
    history = LaneHistory(world.chain, start_block=settings.start_block)
    duties = RequesterDuties(
        reports,
        network=world.network,
        payer=payer,
        chain=world.chain,
        lanes=lanes,
        books=history,
        files=files,
        clock=world.clock,
        fail=desk.fail_lease,
        poll_s=settings.poll_s,
        close_lanes=settings.close_lanes,
    )
    await desk.restore()
    return Buying(
        desk=desk,
        duties=duties,
        payer=payer,
        lanes=lanes,
        files=files,
        history=history,
        auctioneer=auctioneer,
        purse=purse,
    )


async def _open_selling(
    world: World,
    settings: TradingSettings,
    intake: OfferIntake,
    machines: list[Machine],
    engine: ContainerEngine,
) -> Selling:
    payee = Payee(world.chain, world.journal, world.wallet, world.clock.now_ms, confirmations=settings.confirmations)
    await payee.load()
    poster = OfferPoster(machines, world.network, intake, world.clock)
    files = LeaseFiles(world.folder / "leases")
    desk = ProviderDesk(
        machines,
        signer=world.signer,
        network=world.network,
        journal=world.journal,
        clock=world.clock,
        rng=world.rng,
        inventory_changed=poster.changed,
    )
    duties = ProviderDuties(
        desk,
        signer=world.signer,
        network=world.network,
        engine=engine,
        payee=payee,
        files=files,
        clock=world.clock,
        node_id=world.signer.key.hex()[:16],
        poll_s=settings.poll_s,
        settle_patience_s=settings.settle_patience_s,
    )
    desk.register()
    streams = ProviderStreams(desk, network=world.network, engine=engine, payee=payee, files=files, clock=world.clock)
    streams.register()
    # Before the first offer: a stray container would run on slots that are about to be sold.
    await tidy_up(engine, await desk.restore())
    return Selling(desk=desk, duties=duties, poster=poster, payee=payee, machines=machines)
