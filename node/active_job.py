"""One job that is not over, in memory."""

from __future__ import annotations

import trio

from market.errors import InvalidRequest
from market.queueing import Waiting
from node.gang import Gang
from node.job_journal import Submitted
from node.job_queue import Place
from node.lease_board import LeaseBoard


class Job:
    """What was asked, its lease if any, and a bell that rings when its history grows.

    Attributes:
        since: UTC milliseconds of its submission.
        waiting: what decides when it is tried.
        deadline: UTC milliseconds up to which a provider is looked for.
        place: where it waits, while it does.
        auctions: how many were held since the node started.
        is_told_to_wait: whether its owner knows that it waits.
        gang: the gang it is a member of, if any.
        because: why it was cancelled, if not by its owner's wish alone.
    """

    def __init__(self, job_id: str, submitted: Submitted, *, number: int, since: int, deadline: int) -> None:
        self.job_id = job_id
        self.request = submitted.request
        self.spec = submitted.spec
        self.salt = submitted.salt
        self.since = since
        self.deadline = deadline
        slots = max(1, submitted.spec.requirements.slots) * (submitted.gang.size if submitted.gang else 1)
        self.waiting = Waiting(number=number, since=since, length=max(1, submitted.spec.max_duration_ms * slots))
        self.place: Place | None = None
        self.auctions = 0
        self.is_told_to_wait = False
        self.board: LeaseBoard | None = None
        self.gang: Gang | None = None
        self.because = ""
        self.error: InvalidRequest | None = None
        self.funds: int | None = None
        self.cancelled = trio.Event()
        self._bell = trio.Event()

    @property
    def team(self) -> list[Job]:
        """The members of its gang, or itself alone."""
        return self.gang.jobs if self.gang is not None else [self]

    @property
    def is_wanted(self) -> bool:
        """Whether a provider is still to be looked for. A gang is wanted whole."""
        return self.gang.is_wanted if self.gang is not None else not self.cancelled.is_set()

    def ring(self) -> None:
        """Something was added to the history."""
        self._bell.set()
        self._bell = trio.Event()

    async def wait_ring(self) -> None:
        """Return when the history has grown after this call began."""
        await self._bell.wait()

    def cancel(self, because: str = "") -> None:
        """It is not wanted any more: it leaves the line, if it stands there."""
        self.because = because
        self.cancelled.set()
        if self.place is not None:
            self.place.leave()
