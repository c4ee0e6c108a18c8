"""One job that is not over, in memory."""

from __future__ import annotations

import trio

from market.errors import InvalidRequest
from market.queueing import Waiting
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
    """

    def __init__(self, job_id: str, submitted: Submitted, *, number: int, since: int, deadline: int) -> None:
        self.job_id = job_id
        self.request = submitted.request
        self.spec = submitted.spec
        self.salt = submitted.salt
        self.since = since
        self.deadline = deadline
        slots = max(1, submitted.spec.requirements.slots)
        self.waiting = Waiting(number=number, since=since, length=max(1, submitted.spec.max_duration_ms * slots))
        self.place: Place | None = None
        self.auctions = 0
        self.is_told_to_wait = False
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

    def cancel(self) -> None:
        """Its owner wants it no more: it leaves the line, if it stands there."""
        self.cancelled.set()
        if self.place is not None:
            self.place.leave()
