"""What a finished lease teaches: whether its provider kept its word, how much work the job was, how fast the card."""

from __future__ import annotations

from market.ask import JobFacts
from market.job_history import Run
from market.lease import Stage
from market.offer_book import OfferBook
from market.records import Award, ExitReason, JobSpec
from node.active_job import Job
from node.awarding import Answer
from node.experience import Experience
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.lease_board import LeaseBoard
from node.requester_files import RequesterFiles

_MIB = 1 << 20


def learned_job_facts(experience: Experience, request: JobRequest, spec: JobSpec) -> JobFacts:
    """The facts behind an auction: what its owner says, completed by earlier runs of the same job."""
    return experience.facts(request.name, spec, job_facts(request, spec))


async def learn_from_answer(experience: Experience, award: Award, answer: Answer) -> None:
    """A provider was asked for a lease. Silence is not held against it: it may be the network's, or ours."""
    if answer.lease is not None:
        await experience.honoured(award.provider)
    elif answer.refusal is not None:
        await experience.refused(award, answer.refusal.record)


async def learn_from_lease(
    experience: Experience, book: OfferBook, files: RequesterFiles, job: Job, board: LeaseBoard
) -> None:
    """A lease of ours is over. One that was never funded teaches nothing: nobody owed anybody anything."""
    state = board.state
    if not board.funded_at or state.stage is Stage.LAPSED:
        return
    await experience.ended(board.provider, state, by_us=job.cancelled.is_set())
    experience.lane_changed(board.provider)
    row = book.row_of(board.provider, board.award.record.machine)
    if state.exit_reason is not ExitReason.OK or state.exit_code != 0 or row is None:
        return
    run = Run(
        provider=board.provider,
        run_ms=state.gpu_ms // state.slots,
        speed=row.speed,
        output_mib=-(-files.fetched_bytes(board) // _MIB),
    )
    await experience.ran(job.request.name, board.spec, run)
