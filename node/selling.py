"""The provider's half of a node: who knows whom. Only wiring."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from ledger.chain_watcher import ChainWatcher
from ledger.payee import Payee
from node.collector import Collector, RedeemPolicy
from node.gas_worth import GasWorth
from node.hand_over import HandOver
from node.lease_board import LeaseBoard
from node.lease_files import LeaseFiles
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from node.provider import ProviderDesk
from node.provider_duties import ProviderDuties
from node.provider_streams import ProviderStreams
from node.quotes import QuoteDesk
from node.report_sender import ReportSender
from node.trading_world import TradingSettings, World
from runtime.ports import ContainerEngine
from runtime.supervisor import tidy_up


class Selling(Struct, frozen=True, kw_only=True):
    """The provider's half of a node."""

    desk: ProviderDesk
    duties: ProviderDuties
    poster: OfferPoster
    collector: Collector
    hand_over: HandOver
    payee: Payee
    machines: list[Machine]


async def open_selling(
    world: World,
    settings: TradingSettings,
    intake: OfferIntake,
    machines: list[Machine],
    engine: ContainerEngine,
    *,
    watcher: ChainWatcher,
) -> Selling:
    """Wire the provider's half, read its leases back from the journal, and look for stray containers."""
    payee = await _open_payee(world, settings)
    poster = OfferPoster(machines, world.network, intake, world.clock, signer=world.signer)
    files = LeaseFiles(world.folder / "leases")
    desk = _open_desk(world, machines, poster)
    collector = _collector(world, settings, desk.boards, payee, watcher)
    duties = ProviderDuties(
        desk,
        reports=_open_reports(world, engine, payee),
        engine=engine,
        payee=payee,
        files=files,
        clock=world.clock,
        node_id=world.signer.key.hex()[:16],
        poll_s=settings.poll_s,
        collector=collector,
    )
    desk.register()
    QuoteDesk(desk.machines, signer=world.signer, network=world.network, clock=world.clock).register()
    _register_streams(world, desk, engine, payee, files)
    # Before the first offer: a stray container would run on slots that are about to be sold.
    await tidy_up(engine, await desk.restore())
    return Selling(
        desk=desk,
        duties=duties,
        poster=poster,
        collector=collector,
        hand_over=HandOver(payee, world.network, settings.watch.towers, world.rng),
        payee=payee,
        machines=machines,
    )


async def open_leftovers(world: World, settings: TradingSettings, watcher: ChainWatcher) -> Collector | None:
    """For a node that sells nothing now: redeems what an earlier run of it was paid. None when nothing is owed."""
    payee = await _open_payee(world, settings)
    return _collector(world, settings, {}, payee, watcher) if payee.vouchers() else None


async def _open_payee(world: World, settings: TradingSettings) -> Payee:
    payee = Payee(
        world.chain,
        world.journal,
        world.wallet,
        world.clock.now_ms,
        confirmations=settings.confirmations,
        first_block=settings.start_block,
    )
    await payee.load()
    return payee


def _collector(
    world: World,
    settings: TradingSettings,
    boards: Mapping[bytes, LeaseBoard],
    payee: Payee,
    watcher: ChainWatcher,
) -> Collector:
    return Collector(
        boards,
        payee,
        world.clock,
        watcher=watcher,
        policy=RedeemPolicy(exposure_cap=settings.exposure_cap, idle_s=settings.settle_patience_s),
        gas=GasWorth(world.gas_price, settings.coin_units),
    )


def _open_desk(world: World, machines: list[Machine], poster: OfferPoster) -> ProviderDesk:
    return ProviderDesk(
        machines,
        signer=world.signer,
        wallet=world.wallet,
        network=world.network,
        journal=world.journal,
        clock=world.clock,
        rng=world.rng,
        inventory_changed=poster.changed,
    )


def _open_reports(world: World, engine: ContainerEngine, payee: Payee) -> ReportSender:
    return ReportSender(
        signer=world.signer,
        wallet=world.wallet,
        network=world.network,
        engine=engine,
        payee=payee,
        clock=world.clock,
    )


def _register_streams(
    world: World, desk: ProviderDesk, engine: ContainerEngine, payee: Payee, files: LeaseFiles
) -> None:
    streams = ProviderStreams(desk, network=world.network, engine=engine, payee=payee, files=files, clock=world.clock)
    streams.register()
