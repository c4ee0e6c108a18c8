"""A job in memory: its place in the line, and its bell."""

from __future__ import annotations

import random

import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.records import Requirements
from node.active_job import Job
from node.job_file.request import JobRequest
from node.job_journal import Submitted
from node.job_queue import JobQueue
from tests.fakes.samples import NOW, SALT, SPEC
from tests.simulation.marketplace import SimulatedClock


def a_job(**changes: object) -> Job:
    spec = replace(SPEC, **changes)
    request = JobRequest(name="job", spec=spec, max_price=1, max_total=1)
    return Job("9c", Submitted(request=request, spec=spec, salt=SALT), number=7, since=NOW, deadline=NOW + 1)


def test_its_length_is_the_longest_time_on_all_its_cards():
    job = a_job(max_duration_ms=60_000, requirements=Requirements(slots=4))
    assert (job.waiting.number, job.waiting.since, job.waiting.length) == (7, NOW, 240_000)


async def test_the_bell_rings_for_what_comes_later():
    job, heard = a_job(), []

    async def listen() -> None:
        await job.wait_ring()
        heard.append(True)

    job.ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == []
        job.ring()
    assert heard == [True]


async def test_cancelling_leaves_the_line(autojump_clock: MockClock):
    job, queue = a_job(), JobQueue(SimulatedClock(), random.Random(1))
    with queue.place(job.waiting, dict) as job.place:
        job.cancel()
        with trio.fail_after(1):
            assert not await job.place.turn(float("inf"))
    assert job.cancelled.is_set()
