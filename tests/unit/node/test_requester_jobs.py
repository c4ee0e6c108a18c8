"""The requester's desk: its queue is the journal, and a job survives whatever happens to the node."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.statement import with_grants
from ledger.voucher import Domain
from market import codec
from market.duties import Duty
from market.errors import InvalidRequest, Unavailable
from market.lease import CancelRequested, Stage
from market.records import Award, Offer
from market.signing import Verified, verify
from node import requester, wire
from node.auction import Auctioneer, Purse
from node.job_file.request import JobRequest
from node.job_journal import history, state_of
from node.lease_board import LeaseBoard, lease_id_of
from node.offer_intake import OfferIntake
from node.provider import AwardRequest
from node.requester import RequesterDesk
from node.requester_files import RequesterFiles
from tests.fakes.desks import RecordingNetwork
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import (
    BUYER,
    CHAIN_ID,
    ESCROW,
    PAYEE_KEY,
    PAYER,
    SELLER,
    SESSION,
    SPEC,
    a_lease,
    a_refusal,
    an_offer,
)
from tests.simulation.marketplace import SimulatedClock

PLAIN = JobRequest(name="job", spec=SPEC, max_price=10**9, max_total=10**12)


class Desk:
    """A requester's desk; one seller that grants or refuses; duties that wait, or end the lease at once."""

    def __init__(self, folder: Path, journal: MemoryJournal) -> None:
        self.network, self.clock, self.journal = RecordingNetwork(BUYER.key), SimulatedClock(), journal
        self.network.answer = self._answer
        self.grants, self.ends, self.funds = True, True, None
        self.shunned: tuple[bytes, ...] = ()
        self.duties: list[Duty] = []
        self.intake = OfferIntake(self.network, self.clock)
        rng = random.Random(len(journal._entries))
        purse = Purse(payer=PAYER, signer=SESSION, chain_id=CHAIN_ID, escrow=ESCROW)
        auctioneer = Auctioneer(
            signer=BUYER,
            network=self.network,
            intake=self.intake,
            clock=self.clock,
            rng=rng,
            purse=purse,
            prove_lane=lambda payee, subject: bytes(64),
        )
        self.desk = RequesterDesk(
            auctioneer,
            journal=journal,
            clock=self.clock,
            files=RequesterFiles(folder, self.network),
            intake=self.intake,
            purse=purse,
            rng=rng,
            funds=self._funds,
            shunned=lambda: self.shunned,
        )

    async def _funds(self) -> int | None:
        await trio.lowlevel.checkpoint()
        return self.funds

    def _answer(self, _peer: bytes, _protocol: str, request: bytes) -> bytes:
        award = verify(codec.unpack_record(request, AwardRequest, limit=wire.MAX_REQUEST).award, Award)
        if not self.grants:
            return codec.pack({"refusal": SELLER.sign(a_refusal(bid_id=award.record.bid_id, free_slots=2)).raw})
        lease_id = lease_id_of(BUYER.key, SELLER.key, award.record.bid_id)
        lease = a_lease(award, lease_id=lease_id)
        lease = with_grants(lease, award.record.machine, Domain(CHAIN_ID, ESCROW), PAYEE_KEY.sign)
        return codec.pack({"lease": SELLER.sign(lease).raw})

    def offer(self, **changes: Any) -> Verified[Offer]:
        now = self.clock.now_ms()
        offer = SELLER.sign(an_offer(issued_at=now, expires_at=now + 60_000, version=now, **changes))
        self.intake.take(offer)
        return offer

    async def perform(self, what: Duty, board: LeaseBoard) -> None:
        self.duties.append(what)
        if self.ends and board.state.stage is Stage.GRANTED:
            await board.record(CancelRequested(at=self.clock.now_ms()))

    async def until_done(self, job_id: str) -> list[dict[str, Any]]:
        with trio.fail_after(300):
            while job_id in self.desk.jobs:
                await trio.sleep(0.1)
        return await self.told(job_id)

    async def told(self, job_id: str) -> list[dict[str, Any]]:
        return await history(self.journal, job_id)


@asynccontextmanager
async def a_desk(folder: Path, journal: MemoryJournal | None = None, **settings: Any) -> AsyncIterator[Desk]:
    desk = Desk(folder, journal or MemoryJournal())
    for name, value in settings.items():
        setattr(desk, name, value)
    desk.offer()
    await desk.desk.restore()
    async with desk.desk.working(desk.perform):
        yield desk


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


async def test_a_job_is_auctioned_leased_and_carried_to_its_end(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        events = await desk.until_done(await desk.desk.submit(PLAIN))
        assert kinds(events)[:3] == ["queued", "matching", "leased"]
        assert desk.duties == [Duty.FUND_LANE, Duty.FREE_COVER]
        assert (desk.desk.jobs, desk.desk.boards) == ({}, {})


async def test_what_was_submitted_is_durable_before_it_is_answered(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        job_id = await desk.desk.submit(PLAIN)
        assert await history(desk.journal.crash(), job_id)


async def test_a_full_disk_queues_nothing(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        desk.journal.full = True
        with pytest.raises(Unavailable):
            await desk.desk.submit(PLAIN)
        assert desk.desk.jobs == {}


async def test_a_job_nobody_grants_fails_after_a_while_and_says_so(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        events = await desk.until_done(await desk.desk.submit(PLAIN))
        assert kinds(events)[-1] == "failed"
        assert (events[-1]["code"], events[-1]["retryable"]) == ("no_match", True)
        assert "refused" in kinds(events)


async def test_a_job_that_nothing_fits_is_told_why(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        events = await desk.until_done(await desk.desk.submit(replace(PLAIN, max_price=5)))
        assert kinds(events) == ["queued", "matching", "failed"]
        assert events[1]["closest"] == [{"rule": "price", "field": "max_price", "value": 100_000}]
        assert desk.network.requests == []


async def test_an_offer_that_comes_a_little_late_is_not_missed(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        desk.intake.book.drop_expired(desk.clock.now_ms() + 10**6)
        job_id = await desk.desk.submit(PLAIN)
        await trio.sleep(3)
        desk.offer()
        assert "leased" in kinds(await desk.until_done(job_id))


async def test_a_job_cancelled_in_the_queue_is_never_awarded_again(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, grants=False) as desk:
        job_id = await desk.desk.submit(PLAIN)
        await trio.sleep(1)
        await desk.desk.cancel(desk.desk.jobs[job_id])
        asked = len(desk.network.requests)
        await desk.desk.cancel(desk.desk.jobs[job_id])
        events = await desk.until_done(job_id)
        assert kinds(events)[-1] == "cancelled"
        assert len(desk.network.requests) <= asked + 1


async def test_a_leased_job_that_is_cancelled_ends_its_lease(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, ends=False) as desk:
        job_id = await desk.desk.submit(PLAIN)
        await trio.sleep(1)
        job = desk.desk.jobs[job_id]
        assert job.board is not None
        await desk.desk.cancel(job)
        assert job.board.state.stage is Stage.LAPSED
        assert kinds(await desk.until_done(job_id))[-1] == "cancelled"


@pytest.mark.parametrize("crash_after_s", [0.0, 0.001, 0.5, 2.0])
@pytest.mark.parametrize("grants", [True, False])
async def test_a_restart_goes_on_where_the_job_stood(
    autojump_clock: MockClock, tmp_path: Path, crash_after_s: float, grants: bool
):
    async with a_desk(tmp_path, grants=grants, ends=False) as desk:
        job_id = await desk.desk.submit(PLAIN)
        await trio.sleep(crash_after_s)
        journal = desk.journal.crash()
    async with a_desk(tmp_path, journal) as again:
        assert job_id in again.desk.jobs
        events = await again.until_done(job_id)
        assert kinds(events).count("leased") == 1
        assert state_of(events) in ("cancelled", "failed")


async def test_a_cancel_survives_a_restart(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path, ends=False) as desk:
        job_id = await desk.desk.submit(PLAIN)
        await trio.sleep(1)
        journal = desk.journal
        desk.desk.jobs[job_id].board = None  # as if the node died between the wish and its act
        await desk.desk.cancel(desk.desk.jobs[job_id])
        journal = journal.crash()
    async with a_desk(tmp_path, journal, ends=False) as again:
        assert kinds(await again.until_done(job_id))[-1] == "cancelled"


async def test_a_finished_job_is_not_run_again(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        job_id = await desk.desk.submit(PLAIN)
        before = await desk.until_done(job_id)
        journal = desk.journal.crash()
    async with a_desk(tmp_path, journal) as again:
        assert again.desk.jobs == {}
        await trio.sleep(10)
        assert await again.told(job_id) == before


async def test_so_many_jobs_and_no_more(autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(requester, "MAX_ACTIVE_JOBS", 2)
    async with a_desk(tmp_path, ends=False) as desk:
        for _ in range(2):
            await desk.desk.submit(PLAIN)
        with pytest.raises(InvalidRequest) as refused:
            await desk.desk.submit(PLAIN)
        assert refused.value.code == "too_many_jobs"


async def test_a_job_that_no_provider_could_receive_is_refused_here(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        words = ("x" * 100_000,)
        long = replace(PLAIN, spec=replace(SPEC, command=words * 6))
        with pytest.raises(InvalidRequest) as refused:
            await desk.desk.submit(long)
        assert refused.value.code == "spec_too_large"
        fits = replace(PLAIN, spec=replace(SPEC, command=words * 5))
        await desk.until_done(await desk.desk.submit(fits))
        assert all(len(request) <= wire.MAX_REQUEST for _, _, request in desk.network.requests)
        assert desk.network.requests


@pytest.mark.parametrize("pause_s", [0.0, 0.001, 0.4])
async def test_a_disk_that_is_full_in_the_auction_delays_the_job(
    autojump_clock: MockClock, tmp_path: Path, pause_s: float
):
    async with a_desk(tmp_path) as desk:
        job_id = await desk.desk.submit(PLAIN)
        await trio.sleep(pause_s)
        desk.journal.full = True
        await trio.sleep(20)
        desk.journal.full = False
        desk.offer()
        assert state_of(await desk.until_done(job_id)) in ("cancelled", "failed")


async def test_a_job_handed_to_a_node_that_stops_is_on_disk_and_says_so(autojump_clock: MockClock, tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        pass
    with pytest.raises(Unavailable) as refused:
        await desk.desk.submit(PLAIN)
    assert refused.value.code == "stopping"
    assert await desk.journal.streams("job/")
