"""The buying side: takes jobs, holds their auctions, and keeps one driver per lease. Its queue is the journal.

A job survives a restart in whatever state it was: before its auction it waits on, until the time that its submission
set, after it its lease goes on where the lease stands.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from ledger.ports import Journal, JournalEntry
from market.errors import InvalidRequest, Unavailable
from market.lease import OVER, CancelRequested, Stage
from node.active_job import Job
from node.auction import Auctioneer, Purse
from node.award_shelf import AwardShelf
from node.control import TERMINAL_STATES
from node.gang import Gang
from node.gas_at_hand import AskGas, enough_gas
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_journal import (
    CANCEL,
    LEASED,
    PREFIX,
    WAITING_FOR_OFFERS,
    Submitted,
    history,
    job_entry,
    state_of,
)
from node.job_leases import Won, open_leases
from node.job_outcome import describe_outcome
from node.lease_board import PREFIX as LEASE_PREFIX
from node.lease_board import LeaseBoard, load_board
from node.lease_driver import Perform, drive_lease
from node.offer_intake import OfferIntake
from node.ports import Clock
from node.provider_search import PATIENCE_MS, Facts, ProviderSearch
from node.requester_files import RequesterFiles
from node.submission import first_entries, prepare

log = logging.getLogger(__name__)

MAX_ACTIVE_JOBS = 1024
_SEES_MONEY_MS = 2_000
"""A provider asks the chain for our deposit now and then; until it has seen it, the lease counts as unpaid there."""
_FIRST_DISK_PAUSE_S = 1.0
_LAST_DISK_PAUSE_S = 15.0


Ended = Callable[[Job, LeaseBoard], Awaitable[None]]
"""Told of every lease that is over, before its files are forgotten."""


async def _unheard(job: Job, board: LeaseBoard) -> None:
    """Nobody wants to know."""


class RequesterDesk:
    """All jobs this node buys for.

    Attributes:
        jobs: active jobs by id; finished ones are in the journal only.
        boards: leases by id, shared with the report desk.
        search: finds providers for them.
    """

    def __init__(
        self,
        auctioneer: Auctioneer,
        *,
        journal: Journal,
        clock: Clock,
        files: RequesterFiles,
        intake: OfferIntake,
        purse: Purse,
        rng: random.Random,
        funds: Callable[[], Awaitable[int | None]],
        gas: AskGas = enough_gas,
        facts: Facts = job_facts,
        ended: Ended = _unheard,
        shunned: Callable[[], tuple[bytes, ...]] = tuple,
        shelf: AwardShelf | None = None,
    ) -> None:
        self._ended, self._shelf = ended, shelf
        self.jobs: dict[str, Job] = {}
        self.boards: dict[bytes, LeaseBoard] = {}
        self._journal, self._clock = journal, clock
        self._files, self._rng = files, rng
        self.search = ProviderSearch(
            auctioneer,
            intake=intake,
            clock=clock,
            purse=purse,
            rng=rng,
            funds=funds,
            gas=gas,
            tell=self.tell,
            tell_all=self.tell_all,
            open_leases=self._open,
            facts=facts,
            shunned=shunned,
            unfunded=self._unfunded,
        )
        self._submitted = 0
        self._nursery: trio.Nursery | None = None
        self._perform: Perform | None = None

    async def restore(self) -> None:
        """Read back every job that is not finished, and its lease."""
        gangs: dict[str, Gang] = {}
        for stream in await self._journal.streams(PREFIX):
            entries, job_id = await self._journal.read(stream), stream.removeprefix(PREFIX)
            submitted = msgspec.json.decode(entries[0].body, type=Submitted)
            events = await history(self._journal, job_id)
            place = submitted.gang
            gang = gangs.setdefault(place.gang, Gang(place.size)) if place is not None else None
            if (state := state_of(events)) in TERMINAL_STATES:
                if gang is not None and place is not None:
                    gang.is_over(place.rank, events, cancelled=state == "cancelled")
                continue
            job = self._job(job_id, submitted, since=entries[0].at_ms)
            await self._take_up(job, entries)
            self._adopt(job)
            if gang is not None and place is not None:
                gang.join(job, place.rank)

    async def _take_up(self, job: Job, entries: Sequence[JournalEntry]) -> None:
        """Bring a job to where its stream says that it stood."""
        for entry in entries:
            if entry.kind == LEASED:
                lease = msgspec.json.decode(entry.body)["lease"]
                self._attach(job, await load_board(self._journal, LEASE_PREFIX + lease))
            elif entry.kind == CANCEL:
                job.cancel(msgspec.json.decode(entry.body).get("why", ""))
            elif entry.kind == WAITING_FOR_OFFERS:
                job.is_told_to_wait = True

    @asynccontextmanager
    async def working(self, perform: Perform) -> AsyncIterator[None]:
        """Run every active job, and those submitted later, until the block is left; it stops them where they stand."""
        self._perform = perform
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.search.serve_forever)
            jobs = list(self.jobs.values())
            for gang in dict.fromkeys(job.gang for job in jobs if job.gang is not None):
                nursery.start_soon(gang.stand_together, self.cancel)
            for job in jobs:
                nursery.start_soon(self._run, job)
            yield
            nursery.cancel_scope.cancel()

    async def submit(self, request: JobRequest) -> str:
        """Queue a job durably and start it. Returns its id; of a gang that of the first member.

        Raises:
            InvalidRequest, Unavailable: as for :meth:`submit_all`.
        """
        return (await self.submit_all(request))[0]

    async def submit_all(self, request: JobRequest) -> list[str]:
        """Queue a job, or all members of a gang, durably and start it. Returns the ids by rank.

        Raises:
            InvalidRequest: an input cannot be read, the job is too large to travel, or too many jobs are active.
            Unavailable: the journal could not be written, nothing was queued; or ``stopping``: the node ends meanwhile,
                and the job, which is written down, begins with the next start.
        """
        if len(self.jobs) + request.machines > MAX_ACTIVE_JOBS or self._nursery is None:
            raise InvalidRequest("this node has too many active jobs", code="too_many_jobs", fix="wait for one to end")
        prepared = await prepare(request, self._files, self._rng)
        now, gang = self._clock.now_ms(), Gang(len(prepared)) if len(prepared) > 1 else None
        await self._journal.append(first_entries(prepared, now))
        jobs = [self._job(job_id, submitted, since=now) for job_id, submitted in prepared]
        for rank, job in enumerate(jobs):
            self._adopt(job)
            if gang is not None:
                gang.join(job, rank)
        try:
            for job in jobs:
                self._nursery.start_soon(self._run, job)
            if gang is not None:
                self._nursery.start_soon(gang.stand_together, self.cancel)
        except RuntimeError:  # how trio says that a nursery has ended
            raise Unavailable(
                "the node is stopping; the job is written down and begins with the next start",
                code="stopping",
                fix="cfab up",
            ) from None
        return [job.job_id for job in jobs]

    async def award_file(self, job_id: str) -> bytes:
        """What proves how a job's provider was chosen, as :func:`market.transcript.read_file` reads it.

        Raises:
            InvalidRequest: there is none for this job (any more).
        """
        if self._shelf is None:
            raise InvalidRequest("this node keeps no award files", code="not_found")
        return await self._shelf.get(job_id)

    async def cancel(self, job: Job, why: str = "") -> None:
        """Ask for the end of a job: at once in the queue, by the provider once it is leased. Safe to repeat.

        Args:
            job: of a gang without leases, all members end with it.
            why: told as the reason of its failure, where its owner did not wish for it.
        """
        together = job.team if job.board is None else [job]
        asked = [one for one in together if not one.cancelled.is_set()]
        if asked:
            await self.tell_all(asked, CANCEL, {"why": why} if why else {})
            for one in asked:
                one.cancel(why)
        for one in together:
            if one.board is not None and one.board.state.stage not in OVER:
                await one.board.record(CancelRequested(at=self._clock.now_ms()))

    async def fail_lease(self, board: LeaseBoard, error: InvalidRequest) -> None:
        """Remember why a lease could not go on, to be told when the job ends."""
        if (job := self.jobs.get(board.job_id)) is not None:
            job.error = error

    async def tell(self, job: Job, kind: str, detail: dict[str, Any]) -> None:
        """Add an event to a job's own stream."""
        await self._journal.append([job_entry(job.job_id, kind, self._clock.now_ms(), detail)])
        job.ring()

    async def tell_all(self, jobs: Sequence[Job], kind: str, detail: dict[str, Any]) -> None:
        """Add the same event to the streams of several jobs: to all of them, or to none."""
        if len(jobs) == 1:
            await self.tell(jobs[0], kind, detail)
            return
        now = self._clock.now_ms()
        await self._journal.append([job_entry(job.job_id, kind, now, detail) for job in jobs])
        for job in jobs:
            job.ring()

    def _job(self, job_id: str, submitted: Submitted, *, since: int) -> Job:
        wait_ms = submitted.request.wait_ms
        # The time to wait runs on while the node is down: its owner counts from when he submitted the job.
        deadline = since + wait_ms if wait_ms else self._clock.now_ms() + PATIENCE_MS
        self._submitted += 1
        return Job(job_id, submitted, number=self._submitted, since=since, deadline=deadline)

    def _adopt(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        self._files.adopt(job.job_id, job.request)

    def _attach(self, job: Job, board: LeaseBoard) -> None:
        def changed(board: LeaseBoard) -> None:
            job.ring()
            if job.gang is not None:
                job.gang.ring()
            if board.state.stage in OVER:
                self.search.stir()
            elif board.state.stage is Stage.FUNDED and self._nursery is not None:
                self._nursery.start_soon(self._stir_later)

        job.board = board
        board.on_change = changed
        self.boards[board.lease_id] = board

    async def _stir_later(self) -> None:
        await trio.sleep(_SEES_MONEY_MS / 1000)
        self.search.stir()

    def _unfunded(self) -> Counter[bytes]:
        """Leases whose provider does not see our money yet, by provider."""
        since = self._clock.now_ms() - _SEES_MONEY_MS
        states = ((board.provider, board.state) for board in self.boards.values())
        return Counter(
            provider
            for provider, state in states
            if state.stage is Stage.GRANTED or (state.stage is Stage.FUNDED and state.since > since)
        )

    async def _run(self, job: Job) -> None:
        try:
            # A full disk interrupts a job wherever it stands; going on is what a restart would do.
            pause = _FIRST_DISK_PAUSE_S
            while not await self._carry_through(job):
                await trio.sleep(pause * self._rng.uniform(0.5, 1.5))
                pause = min(pause * 2, _LAST_DISK_PAUSE_S)
        finally:
            self.jobs.pop(job.job_id, None)
            if job.gang is not None:
                job.gang.leave(job)
            if job.board is not None:
                self.boards.pop(job.board.lease_id, None)
                self._files.forget(job.board)

    async def _carry_through(self, job: Job) -> bool:
        """From wherever the job stands to its end. False when the journal could not be written on the way."""
        try:
            if job.board is None and not await self._find(job):
                return True
            assert job.board is not None
            assert self._perform is not None
            if job.cancelled.is_set():
                await job.board.record(CancelRequested(at=self._clock.now_ms()))
            await drive_lease(job.board, self._perform, self._clock, rng=self._rng)
            await self._conclude(job, job.board)
        except Unavailable as error:
            log.warning("job %s waits: %s", job.job_id[:8], error)
            return False
        return True

    async def _find(self, job: Job) -> bool:
        """Look for a provider. The leader of a gang does so for all members; their end is told by it too."""
        gang = job.gang
        if gang is not None and (gang.opened.is_set() or gang.lead is not job):
            await gang.opened.wait()
            return job.board is not None
        found = await self.search.find(job)
        if gang is not None:
            gang.opened.set()
        return found

    async def _open(self, won: Won) -> None:
        for job, outcome in won:
            if self._shelf is not None and outcome.file is not None:
                self._shelf.put(job.job_id, outcome.file)
        boards = await open_leases(self._journal, won, self._clock.now_ms())
        for (job, _), board in zip(won, boards, strict=True):
            self._attach(job, board)
            job.ring()

    async def _conclude(self, job: Job, board: LeaseBoard) -> None:
        """The lease is over: say what became of the job."""
        await self._ended(job, board)
        kind, detail = describe_outcome(
            board.state, job.error, cancelled=job.cancelled.is_set(), because=job.because, said=board.detail
        )
        await self.tell(job, kind, detail)
