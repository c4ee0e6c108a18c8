"""The requester's half of a node: who knows whom. Only wiring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from msgspec import Struct

from ledger.hot_payer import HotPayer
from ledger.voucher import Domain
from market.errors import Unavailable
from node.auction import Auctioneer, Purse
from node.award_shelf import AwardShelf
from node.experience import Experience
from node.gas_at_hand import missing_gas
from node.kept_lanes import KeptLanes
from node.lane_history import LaneHistory
from node.lane_keeper import LaneKeeper
from node.lane_log import LaneLog
from node.learning import learn_from_answer, learn_from_lease, learned_job_facts
from node.offer_intake import OfferIntake
from node.report_desk import ReportDesk
from node.requester import RequesterDesk
from node.requester_duties import RequesterDuties
from node.requester_files import RequesterFiles
from node.trading_world import TradingSettings, World

Funds = Callable[[], Awaitable[int | None]]
"""What could be set aside for a job now; None where it cannot be told."""


class Buying(Struct, frozen=True, kw_only=True):
    """The requester's half of a node."""

    desk: RequesterDesk
    duties: RequesterDuties
    payer: HotPayer
    lanes: LaneKeeper
    kept: KeptLanes
    files: RequesterFiles
    history: LaneHistory
    auctioneer: Auctioneer
    experience: Experience


async def open_buying(world: World, settings: TradingSettings, intake: OfferIntake) -> Buying:
    """Wire the requester's half, read its jobs back from the journal, and answer usage reports."""
    payer = await _open_payer(world, settings)
    experience = await _open_experience(world, settings, intake, payer)
    files = RequesterFiles(world.folder / "jobs", world.network, world.rng)
    files.moved = experience.moved
    funds = partial(_funds, world, payer, settings.fund_ahead_ms)
    auctioneer, desk = _open_desk(world, intake, payer, files, experience, funds=funds)
    reports = ReportDesk(desk.boards, signer=world.signer, payer=payer, network=world.network, clock=world.clock)
    kept = await _open_kept(world)
    lanes = _open_keeper(world, settings, payer, kept)
    log = LaneLog(world.chain, world.journal, start_block=settings.start_block, is_ours=payer.is_ours)
    history = LaneHistory(world.chain, log)
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
        top_up=settings.top_up,
    )
    await desk.restore()
    reports.register()
    return Buying(
        desk=desk,
        duties=duties,
        payer=payer,
        lanes=lanes,
        kept=kept,
        files=files,
        history=history,
        auctioneer=auctioneer,
        experience=experience,
    )


async def _open_kept(world: World) -> KeptLanes:
    kept = KeptLanes(world.journal, Domain(world.chain.chain_id, world.chain.escrow), world.clock.now_ms)
    await kept.load()
    return kept


def _open_keeper(world: World, settings: TradingSettings, payer: HotPayer, kept: KeptLanes) -> LaneKeeper:
    keeper = LaneKeeper(
        payer=payer,
        chain=world.chain,
        network=world.network,
        patience_s=settings.close_patience_s,
        rng=world.rng,
    )
    keeper.kept = kept.payees
    return keeper


async def _open_payer(world: World, settings: TradingSettings) -> HotPayer:
    payer = HotPayer(
        world.chain,
        world.journal,
        world.session_key,
        world.clock.now_ms,
        limit=settings.daily_limit,
        confirmations=settings.confirmations,
        first_block=settings.start_block,
    )
    await payer.load()
    return payer


async def _open_experience(world: World, settings: TradingSettings, intake: OfferIntake, payer: HotPayer) -> Experience:
    opening = partial(_opening_cost, settings, intake, payer)
    experience = Experience(intake.book, world.journal, world.clock, opening=opening)
    await experience.restore()
    return experience


def _opening_cost(settings: TradingSettings, intake: OfferIntake, payer: HotPayer, provider: bytes) -> int:
    """What paying a provider costs in gas: nothing where a lane to it still holds money."""
    if not settings.opening_cost:
        return 0
    payees = {offer.record.settlement.payee for offer in intake.book.offers_of(provider)}
    is_open = any(lane.lane.payee in payees and lane.balance > lane.claimed for lane in payer.summary())
    return 0 if is_open else settings.opening_cost


async def _funds(world: World, payer: HotPayer, ahead_ms: int) -> int | None:
    """What could be set aside for a job now: the wallet's tokens and what its lanes hold promised to nobody, as far as
    today's limit allows. None where it cannot be told, or where a job is begun with less than it may cost."""
    if ahead_ms:
        return None
    try:
        tokens = await world.chain.token_balance(world.chain.account)
    except Unavailable:
        return None
    return min(tokens + sum(max(0, lane.free) for lane in payer.summary()), payer.left_today())


def _open_desk(
    world: World, intake: OfferIntake, payer: HotPayer, files: RequesterFiles, experience: Experience, *, funds: Funds
) -> tuple[Auctioneer, RequesterDesk]:
    chain = world.chain
    purse = Purse(payer=chain.account, signer=world.session_key.address, chain_id=chain.chain_id, escrow=chain.escrow)
    auctioneer = Auctioneer(
        signer=world.signer,
        network=world.network,
        intake=intake,
        clock=world.clock,
        rng=world.rng,
        purse=purse,
        prove_lane=payer.prove_lane,
        heard=partial(learn_from_answer, experience),
        quotes_in_vain=experience.quotes_in_vain,
    )
    desk = RequesterDesk(
        auctioneer,
        journal=world.journal,
        clock=world.clock,
        files=files,
        intake=intake,
        purse=purse,
        rng=world.rng,
        funds=funds,
        gas=partial(missing_gas, world),
        facts=partial(learned_job_facts, experience),
        shunned=experience.quiet,
        shelf=AwardShelf(world.folder / "awards"),
        ended=partial(learn_from_lease, experience, intake.book, files),
    )
    return auctioneer, desk
