"""What a won auction becomes in the requester's journal: the beginning of a lease's stream, and the job's own event."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.ports import Journal, NewEntry
from market import codec
from market.duties import Role
from node.active_job import Job
from node.auction import Outcome
from node.job_journal import LEASED, job_entry
from node.job_outcome import describe_lease
from node.lease_board import LeaseBoard, Opened, open_boards

Won = Sequence[tuple[Job, Outcome]]
"""Jobs with the auctions that brought them their leases; several are a gang's."""


async def open_leases(journal: Journal, won: Won, now: int) -> list[LeaseBoard]:
    """Begin the leases of these jobs, in their order, in one transaction.

    Raises:
        Unavailable: the journal cannot be written; no lease was begun.
    """
    openings = [_opening(job, outcome) for job, outcome in won]
    return await open_boards(journal, openings, now=now, also=[_leased(job, outcome, now) for job, outcome in won])


def _opening(job: Job, outcome: Outcome) -> Opened:
    assert outcome.lease is not None
    return Opened(
        role=Role.REQUESTER,
        lease=outcome.lease.raw,
        spec=codec.pack_record(job.spec),
        salt=job.salt,
        job_id=job.job_id,
    )


def _leased(job: Job, outcome: Outcome, now: int) -> NewEntry:
    assert outcome.lease is not None
    assert outcome.match is not None
    return job_entry(job.job_id, LEASED, now, describe_lease(outcome.lease, gpu=outcome.match.offer.record.gpu))
