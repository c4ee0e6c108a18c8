"""What a request says of its job that makes one machine cheaper for it than another. Stays with the requester."""

from __future__ import annotations

from msgspec.structs import replace

from market.ask import JobFacts, facts_of_spec
from market.records import JobSpec
from node.job_file.request import JobRequest


def job_facts(request: JobRequest, spec: JobSpec) -> JobFacts:
    """The facts behind an auction.

    Args:
        request: as its owner wrote it.
        spec: what will run, with its inputs packed: their sizes are what must be moved.
    """
    return replace(
        facts_of_spec(spec),
        work_ms=request.work_ms,
        work_speed=request.work_speed,
        image_mib=request.image_mib,
        waiting=request.waiting,
    )
