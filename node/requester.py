"""The buying side: takes jobs, holds their auctions, and keeps one driver per lease. Its queue is the journal.

A job survives a restart in whatever state it was: before its auction it is auctioned again, after it its lease goes on
where the lease stands.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from ledger.ports import Journal
from market import codec
from market.duties import Role
from market.errors import InvalidRequest, Unavailable
from market.feasibility import Limits
from market.lease import OVER, CancelRequested
from market.records import JobSpec
from node import wire
from node.auction import Auctioneer, Outcome, Purchase, Purse, describe_match
from node.control import TERMINAL_STATES
from node.job_file.request import JobRequest
from node.job_journal import (
    CANCEL,
    LEASED,
    PREFIX,
    SUBMITTED,
    Submitted,
    history,
    job_entry,
    state_of,
    total_limit_price,
)
from node.job_outcome import describe_lease, describe_outcome, describe_shortage
from node.job_packing import pack_inputs
from node.lease_board import PREFIX as LEASE_PREFIX
from node.lease_board import LeaseBoard, Opened, load_board, open_board
from node.lease_driver import Perform, drive_lease
from node.ports import Clock
from node.requester_files import RequesterFiles

log = logging.getLogger(__name__)

MAX_ACTIVE_JOBS = 1024
_AUCTION_PATIENCE_S = 6.0
_AUCTION_PAUSE_S = 0.5
_FIRST_DISK_PAUSE_S = 1.0
_LAST_DISK_PAUSE_S = 15.0


class Job:
    """One job in memory: what was asked, its lease if any, and a bell that rings when its history grows."""

    def __init__(self, job_id: str, submitted: Submitted) -> None:
        self.job_id = job_id
        self.request = submitted.request
        self.spec = submitted.spec
        self.salt = submitted.salt
        self.board: LeaseBoard | None = None
        self.error: InvalidRequest | None = None
        self.funds: int | None = None
        self.cancelled = trio.Event()
        self._bell = trio.Event()

    def ring(self) -> None:
        """Something was added to the history."""
        self._bell.set()
        self._bell = trio.Event()

    async def wait_ring(self) -> None:
        """Return when the history has grown after this call began."""
        await self._bell.wait()


class RequesterDesk:
    """All jobs this node buys for.

    Attributes:
        jobs: active jobs by id; finished ones are in the journal only.
        boards: leases by id, shared with the report desk.
    """

    def __init__(
        self,
        auctioneer: Auctioneer,
        *,
        journal: Journal,
        clock: Clock,
        files: RequesterFiles,
        purse: Purse,
        rng: random.Random,
        funds: Callable[[], Awaitable[int | None]],
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.boards: dict[bytes, LeaseBoard] = {}
        self._auctioneer = auctioneer
        self._journal = journal
        self._clock = clock
        self._files = files
        self._purse = purse
        self._funds = funds
        self._rng = rng
        self._nursery: trio.Nursery | None = None
        self._perform: Perform | None = None

    async def restore(self) -> None:
        """Read back every job that is not finished, and its lease."""
        for stream in await self._journal.streams(PREFIX):
            entries = await self._journal.read(stream)
            job_id = stream.removeprefix(PREFIX)
            if state_of(await history(self._journal, job_id)) in TERMINAL_STATES:
                continue
            job = Job(job_id, msgspec.json.decode(entries[0].body, type=Submitted))
            for entry in entries:
                if entry.kind == LEASED:
                    lease = msgspec.json.decode(entry.body)["lease"]
                    self._attach(job, await load_board(self._journal, LEASE_PREFIX + lease))
                elif entry.kind == CANCEL:
                    job.cancelled.set()
            self._adopt(job)

    @asynccontextmanager
    async def working(self, perform: Perform) -> AsyncIterator[None]:
        """Run every active job, and those submitted later, until the block is left; it stops them where they stand."""
        self._perform = perform
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for job in list(self.jobs.values()):
                nursery.start_soon(self._run, job)
            yield
            nursery.cancel_scope.cancel()

    async def submit(self, request: JobRequest) -> str:
        """Queue a job durably and start it. Returns its id.

        Raises:
            InvalidRequest: an input cannot be read, the job is too large to travel, or too many jobs are active.
            Unavailable: the journal could not be written; nothing was queued.
        """
        if len(self.jobs) >= MAX_ACTIVE_JOBS or self._nursery is None:
            raise InvalidRequest("this node has too many active jobs", code="too_many_jobs", fix="wait for one to end")
        job_id = self._rng.randbytes(16).hex()
        inputs = await pack_inputs(request, self._files, job_id)
        spec = msgspec.structs.replace(request.spec, inputs=inputs)
        if len(codec.pack_record(spec)) > wire.MAX_SPEC:
            # Providers would call it our fault, and ban us after a few tries.
            raise InvalidRequest(
                "command, environment and paths of this job are too long together",
                code="spec_too_large",
                fix="put what is long into an input file",
            )
        submitted = Submitted(request=request, spec=spec, salt=self._rng.randbytes(16))
        entry = job_entry(job_id, SUBMITTED, self._clock.now_ms(), {})
        await self._journal.append([msgspec.structs.replace(entry, body=msgspec.json.encode(submitted))])
        job = Job(job_id, submitted)
        self._adopt(job)
        self._nursery.start_soon(self._run, job)
        return job_id

    async def cancel(self, job: Job) -> None:
        """Ask for the end of a job: at once in the queue, by the provider once it is leased. Safe to repeat."""
        if not job.cancelled.is_set():
            await self.tell(job, CANCEL, {})
            job.cancelled.set()
        if job.board is not None and job.board.state.stage not in OVER:
            await job.board.record(CancelRequested(at=self._clock.now_ms()))

    async def fail_lease(self, board: LeaseBoard, error: InvalidRequest) -> None:
        """Remember why a lease could not go on, to be told when the job ends."""
        if (job := self.jobs.get(board.job_id)) is not None:
            job.error = error

    async def tell(self, job: Job, kind: str, detail: dict[str, Any]) -> None:
        """Add an event to a job's own stream."""
        await self._journal.append([job_entry(job.job_id, kind, self._clock.now_ms(), detail)])
        job.ring()

    def _adopt(self, job: Job) -> None:
        self.jobs[job.job_id] = job
        self._files.adopt(job.job_id, job.request)

    def _attach(self, job: Job, board: LeaseBoard) -> None:
        job.board = board
        board.on_change = lambda _board: job.ring()
        self.boards[board.lease_id] = board

    async def _run(self, job: Job) -> None:
        try:
            # A full disk interrupts a job wherever it stands; going on is what a restart would do.
            pause = _FIRST_DISK_PAUSE_S
            while not await self._carry_through(job):
                await trio.sleep(pause * self._rng.uniform(0.5, 1.5))
                pause = min(pause * 2, _LAST_DISK_PAUSE_S)
        finally:
            self.jobs.pop(job.job_id, None)
            if job.board is not None:
                self.boards.pop(job.board.lease_id, None)
                self._files.forget(job.board)

    async def _carry_through(self, job: Job) -> bool:
        """From wherever the job stands to its end. False when the journal could not be written on the way."""
        try:
            if job.board is None and not await self._find_provider(job):
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

    async def _find_provider(self, job: Job) -> bool:
        """Auction the job until somebody signs; False when it was cancelled or nobody fits."""
        outcome: Outcome | None = None
        with trio.move_on_after(_AUCTION_PATIENCE_S):
            while not job.cancelled.is_set():
                outcome = await self._auction(job)
                if outcome.lease is not None:
                    return True
                await trio.sleep(_AUCTION_PAUSE_S)
        if job.cancelled.is_set():
            await self.tell(job, "cancelled", {})
        elif job.board is not None:
            return True
        else:
            await self._no_match(job, outcome)
        return False

    async def _auction(self, job: Job) -> Outcome:
        async def tell(kind: str, detail: dict[str, Any]) -> None:
            await self.tell(job, kind, detail)

        # Asked before anybody is: an award that cannot be funded takes a provider's slot for nothing.
        funds = await self._funds()
        purchase = msgspec.structs.replace(self.purchase_of(job.request, job.spec, job.salt), funds=funds)
        outcome = await self._auctioneer.buy(purchase, tell)
        job.funds = funds
        if outcome.lease is not None:
            # Signed by the provider: from here on the patience of the auction must not cut us off half-way.
            with trio.CancelScope(shield=True):
                await self._open(job, outcome)
        return outcome

    def purchase_of(self, request: JobRequest, spec: JobSpec, salt: bytes) -> Purchase:
        """The auction's view of a job: its spec, and the limits that stay at home."""
        limits = Limits(
            max_price=total_limit_price(request),
            chain_id=self._purse.chain_id,
            escrow=self._purse.escrow,
            allow=tuple(bytes.fromhex(key) for key in request.allow),
            deny=tuple(bytes.fromhex(key) for key in request.deny),
        )
        return Purchase(spec=spec, salt=salt, limits=limits, strategy=request.strategy)

    async def _open(self, job: Job, outcome: Outcome) -> None:
        assert outcome.lease is not None
        assert outcome.match is not None
        opened = Opened(
            role=Role.REQUESTER,
            lease=outcome.lease.raw,
            spec=codec.pack_record(job.spec),
            salt=job.salt,
            job_id=job.job_id,
        )
        now = self._clock.now_ms()
        leased = job_entry(job.job_id, LEASED, now, describe_lease(outcome.lease, gpu=outcome.match.offer.record.gpu))
        self._attach(job, await open_board(self._journal, opened, now=now, also=[leased]))
        job.ring()

    async def _no_match(self, job: Job, outcome: Outcome | None) -> None:
        if outcome is not None and not outcome.shortlist.matches:
            await self.tell(job, "matching", describe_match(outcome.shortlist, outcome.why_not))
        cheapest = min((one.cap for one in outcome.shortlist.matches), default=0) if outcome else 0
        if job.funds is not None and cheapest > job.funds:
            await self.tell(job, "failed", describe_shortage(cheapest, job.funds))
            return
        offers = outcome.shortlist.considered if outcome else 0
        tried = len(outcome.shortlist.matches) if outcome else 0
        message = (
            f"{tried} offers fit, but none of their providers granted a lease"
            if tried
            else f"none of the {offers} live offers fits this job"
        )
        closest = outcome is not None and bool(outcome.why_not.closest)
        fix = "see 'closest' for the smallest change that would match" if closest else "wait for other providers"
        await self.tell(job, "failed", {"code": "no_match", "message": message, "fix": fix, "retryable": True})

    async def _conclude(self, job: Job, board: LeaseBoard) -> None:
        """The lease is over: say what became of the job."""
        kind, detail = describe_outcome(board.state, job.error, cancelled=job.cancelled.is_set(), said=board.detail)
        await self.tell(job, kind, detail)
