"""One job on several machines: what each member is, and who of them is not over. All begin, or none does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio
from msgspec.structs import replace

from market.errors import Unavailable
from market.lease import LeaseState, Stage
from node.job_file.request import GANG_RANK, GANG_SIZE, MAX_NAME, JobRequest, LocalOutput
from node.job_outcome import GANG_LOST

if TYPE_CHECKING:
    from node.active_job import Job

_FULL_DISK_PAUSE_S = 1.0
_BEFORE_THE_END = frozenset({Stage.GRANTED, Stage.FUNDED, Stage.RUNNING})


def members_of(request: JobRequest) -> list[JobRequest]:
    """One job for each machine of a request, by rank: each knows its place, has outputs of its own, and may cost its
    share."""
    return [_member(request, rank) for rank in range(request.machines)]


def _member(request: JobRequest, rank: int) -> JobRequest:
    place = {GANG_RANK: str(rank), GANG_SIZE: str(request.machines)}
    return replace(
        request,
        name=f"{request.name[: MAX_NAME - len(f'-{rank}')]}-{rank}",
        spec=replace(request.spec, env={**request.spec.env, **place}),
        machines=1,
        max_total=request.max_total // request.machines,
        outputs=tuple(
            LocalOutput(source=one.source, destination=f"{one.destination.rstrip('/')}/{rank}")
            for one in request.outputs
        ),
    )


class Gang:
    """The members of one gang that are not over.

    Attributes:
        size: how many there were at first.
        members: by rank.
        opened: set once it is known whether they have leases, which they have together or not at all.
        lost: why the others must not go on, empty while they may.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.members: dict[int, Job] = {}
        self.opened = trio.Event()
        self.lost = ""
        self._change = trio.Event()

    def join(self, job: Job, rank: int) -> None:
        """A member begins, or goes on."""
        self.members[rank] = job
        job.gang = self
        self.ring()

    def is_over(self, rank: int, events: Sequence[dict[str, Any]], *, cancelled: bool) -> None:
        """A member was over before this node started."""
        if self.lost or any(event["type"] == "running" for event in events):
            return
        last = events[-1]
        self.lost = last["message"] if last.get("code") == GANG_LOST else why_lost(rank, cancelled=cancelled)

    def leave(self, job: Job) -> None:
        """A member is over."""
        self.members = {rank: one for rank, one in self.members.items() if one is not job}
        self.ring()

    @property
    def jobs(self) -> list[Job]:
        """The members by rank."""
        return [self.members[rank] for rank in sorted(self.members)]

    @property
    def lead(self) -> Job:
        """Whose place in the line is the gang's."""
        return self.members[min(self.members)]

    @property
    def is_wanted(self) -> bool:
        """Whether all are there and none was cancelled."""
        return len(self.members) == self.size and not any(job.cancelled.is_set() for job in self.jobs)

    def ring(self) -> None:
        """Something happened to a member."""
        for rank, job in sorted(self.members.items()):
            if not self.lost and job.board is not None and never_started(job.board.state):
                self.lost = job.because or why_lost(rank, cancelled=job.cancelled.is_set())
        self._change.set()
        self._change = trio.Event()

    async def stand_together(self, cancel: Callable[[Job, str], Awaitable[None]]) -> None:
        """Until all members are over: when one cannot start, end the others.

        Args:
            cancel: ``cancel(job, why)`` ends a member that has not ended by itself.
        """
        while self.members:
            if self.lost:
                try:
                    for job in self.jobs:
                        if job.board is not None and job.board.state.stage in _BEFORE_THE_END:
                            await cancel(job, self.lost)
                    return
                except Unavailable:
                    await trio.sleep(_FULL_DISK_PAUSE_S)
            else:
                await self._change.wait()


def never_started(state: LeaseState) -> bool:
    """Whether a lease ended, or is ending, without its program having run."""
    return state.stage not in _BEFORE_THE_END and not state.running_since


def why_lost(rank: int, *, cancelled: bool) -> str:
    """What the other members are told when one did not start."""
    return f"gang member {rank} " + ("was cancelled before it started" if cancelled else "could not start")
