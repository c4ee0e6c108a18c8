"""One side of a lease cheats or vanishes; the other loses at most what was printed before the start.

Money is counted at the end, from the chain: units are conserved, nothing stays in the escrow, both sides' leases have
ended, and the honest side's loss is at most the lease's exposure. *Work* is what the container really ran.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from msgspec import Struct
from msgspec.structs import replace

from ledger.ports import LaneOnChain
from market import money
from market.lease import OVER, LeaseState
from market.records import UsageReport
from market.usage import CLOCK_TOLERANCE_MS, Refused, ReportRefusal, write_report
from node import report_sender
from node.job_journal import history, state_of
from node.lease_board import PREFIX, load_board
from node.provider_duties import ProviderDuties
from node.report_desk import ReportDesk
from node.requester_duties import RequesterDuties
from tests.simulation.marketplace import TERMS, JobScript, Marketplace, Participant, request, simulate

PRICE = 1_000_000
FUNDS = 10_000_000_000
MAX_MS = 600_000
LONG = 24 * 3600 * 1000
LEASE = LeaseState(price=PRICE, slots=1, max_duration_ms=MAX_MS, terms=TERMS, since=0)
TRAVEL_MS = 1_000
"""Messages, polls and the engine's stop take a moment on top of what the terms say."""


class Aftermath(Struct, frozen=True, kw_only=True):
    """What is left when everything has come to rest. ``worked`` is what the job's run was worth."""

    state: str
    kinds: list[str]
    spent: int
    earned: int
    worked: int
    lane: LaneOnChain
    stages: set[str]
    containers: int
    free_slots: int | None

    @property
    def ran_ms(self) -> int:
        return self.worked * 1000 // PRICE


Act = Callable[[Marketplace, Participant, Participant], Awaitable[None]]
"""Something that happens to buyer and seller once the job has been submitted."""


async def nothing(market: Marketplace, buyer: Participant, seller: Participant) -> None:
    await trio.lowlevel.checkpoint()


def play(
    act: Act = nothing, *, job: JobScript | None = None, skews: tuple[int, int] = (0, 0), until_s: float = 500
) -> Any:
    """One buyer, one seller, one job; ``act`` goes on beside it. Returns the :class:`Aftermath` after ``until_s``."""

    async def scenario(market: Marketplace) -> Aftermath:
        buyer = market.add("buyer", tokens=FUNDS, skew_ms=skews[0])
        seller = market.add("seller", skew_ms=skews[1])
        seller.sells(PRICE)
        seller.job = job or JobScript(duration_ms=60_000)
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            await _until(lambda: buyer.node is not None and len(buyer.node.intake.book) == 1, 60)
            job_id = await buyer.node.buying.desk.submit(request(max_duration_ms=MAX_MS))
            nursery.start_soon(act, market, buyer, seller)
            await trio.sleep(until_s)
            seen = await _look(market, buyer, seller, job_id)
            nursery.cancel_scope.cancel()
        return seen

    return simulate(1, scenario)


async def _stay(participant: Participant) -> None:
    with trio.CancelScope():
        async with participant.running():
            await trio.sleep_forever()


async def _until(condition: Callable[[], object], seconds: float) -> None:
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.1)


async def until_running(seller: Participant) -> None:
    await _until(lambda: any(one.phase == "running" for one in seller.docker.containers.values()), 120)


async def _look(market: Marketplace, buyer: Participant, seller: Participant, job_id: str) -> Aftermath:
    chain = market.chain.view(buyer.wallet.address)
    held = await chain.token_balance(buyer.wallet.address)
    containers = list(seller.docker.containers.values())
    ran_ms = sum(one.ran_ms(trio.current_time() * 1000) for one in containers)
    stages = set()
    for participant in (buyer, seller):
        if participant.node is not None:
            for stream in await participant.journal.streams(PREFIX):
                stages.add((await load_board(participant.journal, stream)).state.stage)
    events = await history(buyer.journal, job_id)
    return Aftermath(
        state=state_of(events),
        kinds=[event["type"] for event in events],
        spent=FUNDS - held,
        earned=await chain.token_balance(seller.wallet.address),
        worked=money.amount_due(PRICE, round(ran_ms)),
        lane=await chain.lane(buyer.lane_to(seller)),
        stages=stages,
        containers=sum(not one.gone for one in containers),
        free_slots=seller.node.selling.machines[0].inventory.free_slots if seller.node else None,
    )


def check_books(seen: Aftermath) -> None:
    """What must hold whoever cheated."""
    assert seen.spent == seen.earned + seen.lane.balance - seen.lane.claimed, "units appeared or vanished"
    assert seen.lane.balance == seen.lane.claimed, "money stayed in the escrow"
    assert seen.earned <= LEASE.cap
    assert seen.stages <= OVER, "a lease never ended"
    assert seen.free_slots in (1, None)


def test_the_printed_exposure_is_what_the_terms_say():
    assert LEASE.exposure == money.amount_due(PRICE, TERMS.tick_ms + TERMS.grace_ms)


def claiming(honest: UsageReport, gpu_ms: int) -> UsageReport:
    """A report that is in order in itself and for more time than it should be for."""
    amount = money.amount_due(PRICE, gpu_ms)
    return replace(honest, gpu_ms=gpu_ms, amount=amount, lane_after=honest.lane_after + amount - honest.amount)


# --- a provider that cheats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [3, 1_000])
def test_a_meter_that_runs_too_fast_is_not_paid(monkeypatch: pytest.MonkeyPatch, factor: int):
    def fast(state: LeaseState, **given: Any) -> Any:
        honest = write_report(state, **given)
        gpu_ms = min(honest.gpu_ms * factor, MAX_MS)
        return claiming(honest, gpu_ms)

    monkeypatch.setattr(report_sender, "write_report", fast)
    seen = play(job=JobScript(duration_ms=LONG))
    check_books(seen)
    assert seen.state == "failed"
    assert seen.earned - seen.worked <= LEASE.exposure
    assert seen.earned <= money.amount_due(PRICE, seen.ran_ms + CLOCK_TOLERANCE_MS + TRAVEL_MS)


def test_a_provider_that_never_starts_earns_nothing(monkeypatch: pytest.MonkeyPatch):
    async def idle(_duties: ProviderDuties, _board: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(ProviderDuties, "_start_container", idle)
    seen = play()
    check_books(seen)
    assert (seen.state, seen.spent, seen.earned) == ("failed", 0, 0)
    assert "running" not in seen.kinds


def test_a_provider_that_bills_what_never_started_is_not_paid(monkeypatch: pytest.MonkeyPatch):
    """It says in signed reports that time has passed, and not that anything was ever started."""

    async def bill(duties: ProviderDuties, board: Any) -> None:
        while True:
            await trio.sleep(5)
            await duties._reports.send(board, final=False)

    def invented(state: LeaseState, *, now: int, **given: Any) -> Any:
        honest = write_report(state, now=now, **given)
        gpu_ms = max(0, now - state.since)
        return claiming(honest, gpu_ms)

    monkeypatch.setattr(ProviderDuties, "_start_container", bill)
    monkeypatch.setattr(report_sender, "write_report", invented)
    seen = play()
    check_books(seen)
    assert (seen.state, seen.spent) == ("failed", 0)


def test_a_job_that_exits_by_itself_is_paid_to_the_millisecond():
    seen = play(job=JobScript(duration_ms=12_345, exit_code=3))
    check_books(seen)
    assert seen.state == "failed"
    assert seen.earned == seen.worked == money.amount_due(PRICE, 12_345)


def test_a_container_that_is_lost_is_paid_until_the_loss_was_seen():
    async def lose(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(20)
        for lease_id in seller.docker.containers:
            seller.docker.lose(lease_id)

    seen = play(lose)
    check_books(seen)
    assert seen.state == "failed"
    assert seen.earned <= money.amount_due(PRICE, 20_000 + TRAVEL_MS)


def test_a_provider_that_hides_the_exit_gains_no_more_than_the_clock_and_the_cap_allow(
    monkeypatch: pytest.MonkeyPatch,
):
    """Nobody can see from outside that a program has ended: what bounds this cheat is the cap, and the owner."""

    async def silent(_duties: ProviderDuties, _board: Any) -> None:
        await trio.sleep_forever()

    async def cancel(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(100)
        (job,) = buyer.node.buying.desk.jobs.values()
        await buyer.node.buying.desk.cancel(job)

    monkeypatch.setattr(ProviderDuties, "_await_exit", silent)
    seen = play(cancel, job=JobScript(duration_ms=1_000))
    check_books(seen)
    assert seen.state == "cancelled"
    assert seen.earned <= money.amount_due(PRICE, 100_000 + CLOCK_TOLERANCE_MS + TRAVEL_MS)


@pytest.mark.parametrize("after_s", [0, 7, 31])
def test_a_provider_that_vanishes_for_ever_keeps_no_money_back(after_s: int):
    async def vanish(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(after_s)
        seller.crash()

    seen = play(vanish)
    check_books(seen)
    assert seen.state == "failed"
    # Nobody redeemed the vouchers: everything came home by the payer's own exit.
    assert (seen.spent, seen.earned) == (0, 0)
    assert seen.lane.epoch == 1


def test_a_provider_that_comes_back_too_late_ends_its_lease_all_the_same():
    """Its vouchers are worth nothing any more: the exit took the rest. Its books must not wait for ever."""

    async def sleep_over_the_exit(_market: Marketplace, _buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(17)
        seller.crash()
        await trio.sleep(600)
        await _stay(seller)

    seen = play(sleep_over_the_exit, until_s=900)
    check_books(seen)
    assert seen.earned == 0
    assert seen.containers == 0


# --- a requester that cheats ----------------------------------------------------------------------------------------


def test_a_requester_that_never_signs_gets_the_exposure_and_no_more(monkeypatch: pytest.MonkeyPatch):
    async def refuse(_desk: ReportDesk, _board: Any, _report: Any) -> Refused:
        await trio.lowlevel.checkpoint()
        return Refused(ReportRefusal.OVER_METERED)

    monkeypatch.setattr(ReportDesk, "_judge", refuse)
    seen = play(job=JobScript(duration_ms=LONG))
    check_books(seen)
    assert seen.earned == 0
    assert seen.worked <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)
    assert seen.containers == 0


def test_a_requester_that_stops_signing_gets_the_exposure_and_no_more(monkeypatch: pytest.MonkeyPatch):
    honest = ReportDesk._judge

    async def tire(desk: ReportDesk, board: Any, report: Any) -> bytes | Refused:
        if board.chain.sequence >= 5:
            return Refused(ReportRefusal.OVER_METERED)
        return await honest(desk, board, report)

    monkeypatch.setattr(ReportDesk, "_judge", tire)
    seen = play(job=JobScript(duration_ms=LONG))
    check_books(seen)
    assert seen.earned > 0
    assert seen.worked - seen.earned <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)


def test_a_requester_that_never_funds_gets_nothing(monkeypatch: pytest.MonkeyPatch):
    async def keep(_duties: RequesterDuties, _board: Any) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(RequesterDuties, "_fund", keep)
    seen = play()
    check_books(seen)
    assert (seen.state, seen.spent, seen.worked, seen.containers) == ("failed", 0, 0, 0)


def test_a_requester_that_says_it_funded_and_did_not_gets_nothing(monkeypatch: pytest.MonkeyPatch):
    async def pretend(_payer: Any, _lease_id: bytes, _cover: int) -> None:
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr("ledger.payer.Payer.ensure_funded", pretend)
    seen = play()
    check_books(seen)
    assert (seen.spent, seen.worked) == (0, 0)


@pytest.mark.parametrize("after_s", [0, 7, 31])
def test_a_requester_that_vanishes_costs_the_exposure_and_no_more(after_s: int):
    async def vanish(_market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(after_s)
        buyer.crash()

    seen = play(vanish, job=JobScript(duration_ms=LONG))
    assert seen.worked - seen.earned <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)
    assert seen.stages <= OVER, "the provider's lease never ended"
    assert (seen.containers, seen.free_slots) == (0, 1)
    # What the buyer had deposited and not signed away waits for it in the lane: nobody else can take it.
    assert seen.lane.claimed == seen.earned
    assert seen.spent == seen.lane.balance


# --- wrong clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skews", [(0, 30_000), (0, -30_000), (30_000, 0), (-30_000, 0), (-30_000, 30_000)])
def test_clocks_that_are_wrong_by_half_a_minute_cost_nothing(skews: tuple[int, int]):
    seen = play(skews=skews, job=JobScript(duration_ms=42_000))
    check_books(seen)
    assert seen.state == "succeeded"
    assert seen.earned == seen.worked == money.amount_due(PRICE, 42_000)


async def leave_while_it_runs(market: Marketplace, buyer: Participant, seller: Participant) -> None:
    """Start the exit on the chain behind the node's back, go on paying, and take everything home once it is over."""
    await _until(lambda: any(one.phase == "running" for one in seller.docker.containers.values()), 60)
    view, lane = market.chain.view(buyer.wallet.address), buyer.lane_to(seller)
    await view.start_exit(lane.payee, lane.signer)
    while True:
        found = await view.lane(lane)
        if found.exit_at and (await view.head()).timestamp >= found.exit_at:
            await view.finish_exit(lane)
            return
        await trio.sleep(1)


def test_a_payer_that_leaves_during_the_job_takes_nothing_it_signed() -> None:
    seen: Aftermath = play(leave_while_it_runs, job=JobScript(duration_ms=500_000))
    assert seen.worked > 0
    assert seen.worked - seen.earned <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS)
    assert seen.ran_ms < 120_000, "the lease went on after its payer had left"


def test_a_requester_that_pays_at_the_last_moment_gains_no_second_exposure():
    """Held-up answers pay for what was worked long before; what was worked meanwhile is unpaid already."""

    async def act(market: Marketplace, buyer: Participant, seller: Participant) -> None:
        await until_running(seller)
        await trio.sleep(TERMS.tick_ms * 2.5 / 1000)
        (board,) = seller.node.selling.desk.boards.values()
        for _ in range(2):
            paid = board.state.sequence
            market.network.partition((buyer.signer.key,), (seller.signer.key,))
            await trio.sleep((TERMS.tick_ms * 0.5 + TERMS.grace_ms - 500) / 1000)
            market.network.heal()
            await _until(lambda paid=paid: board.state.sequence > paid, 60)
        market.network.partition((buyer.signer.key,), (seller.signer.key,))

    seen = play(act, job=JobScript(duration_ms=LONG), until_s=900)
    check_books(seen)
    given = seen.worked - seen.earned
    assert given <= LEASE.exposure + money.amount_due(PRICE, TRAVEL_MS), f"gave {given}, printed were {LEASE.exposure}"
