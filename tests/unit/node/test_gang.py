"""A gang in memory: what its members are, when it is lost, and that nobody outlives that."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.errors import Unavailable
from market.lease import CancelRequested, ContainerExited, ContainerStarted, DeadlinePassed, LaneFunded
from market.records import ExitReason
from node.active_job import Job
from node.gang import Gang, members_of
from node.job_file.request import JobRequest, LocalOutput
from node.lease_board import LeaseBoard
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW, SPEC
from tests.unit.node.test_active_job import a_job

REQUEST = JobRequest(
    name="train",
    spec=replace(SPEC, env={"EPOCHS": "3"}, outputs=("/work/out",)),
    max_price=7,
    max_total=3_001,
    machines=3,
    outputs=(LocalOutput(source="/work/out", destination="/home/job/out"),),
)


def test_members_know_their_place_and_keep_their_outputs_apart():
    members = members_of(REQUEST)
    assert [one.name for one in members] == ["train-0", "train-1", "train-2"]
    assert [one.spec.env for one in members] == [
        {"EPOCHS": "3", "CFAB_GANG_RANK": str(rank), "CFAB_GANG_SIZE": "3"} for rank in range(3)
    ]
    assert [one.outputs[0].destination for one in members] == [f"/home/job/out/{rank}" for rank in range(3)]


def test_together_they_never_cost_more_than_the_whole_may():
    members = members_of(REQUEST)
    assert [one.max_total for one in members] == [1_000] * 3
    assert {one.max_price for one in members} == {7}


@pytest.mark.parametrize("length", [1, 61, 63])
def test_every_member_is_a_request_of_its_own(length: int):
    for member in members_of(replace(REQUEST, name="n" * length, machines=16)):
        assert JobRequest.from_json(member.to_json()) == member
        assert member.machines == 1


async def a_gang(size: int = 3) -> tuple[Gang, list[LeaseBoard]]:
    """A gang whose members all have leases."""
    gang, boards = Gang(size), []
    for rank in range(size):
        job = a_job()
        job.board = await a_board(MemoryJournal())
        job.board.on_change = lambda _board: gang.ring()
        boards.append(job.board)
        gang.join(job, rank)
    return gang, boards


async def test_a_gang_is_wanted_while_all_are_there_and_nobody_was_cancelled():
    gang, _ = await a_gang(2)
    assert gang.is_wanted
    gang.jobs[1].cancel()
    assert not gang.is_wanted
    assert not Gang(1).is_wanted


async def test_the_first_that_is_there_leads():
    gang, _ = await a_gang()
    first, second, third = gang.jobs
    assert gang.lead is first
    gang.leave(first)
    assert (gang.lead, gang.jobs) == (second, [second, third])


FUNDED, STARTED = LaneFunded(at=NOW, amount=1), ContainerStarted(at=NOW, started_at=NOW)
NEVER_BEGAN: dict[str, list[Any]] = {
    "not funded": [DeadlinePassed(at=NOW)],
    "never heard of": [FUNDED, DeadlinePassed(at=NOW)],
    "not started": [FUNDED, ContainerExited(at=NOW, reason=ExitReason.START_FAILED, exit_code=-1)],
}


@pytest.mark.parametrize("facts", NEVER_BEGAN.values(), ids=NEVER_BEGAN)
async def test_a_gang_is_lost_when_one_does_not_begin(facts: list[Any]):
    gang, boards = await a_gang()
    for fact in facts:
        assert gang.lost == ""
        await boards[1].record(fact)
    assert gang.lost == "gang member 1 could not start"


async def test_who_began_may_end_as_he_likes():
    gang, boards = await a_gang()
    for fact in (FUNDED, STARTED, ContainerExited(at=NOW, reason=ExitReason.OOM, exit_code=137)):
        await boards[1].record(fact)
    assert gang.lost == ""


async def test_the_first_loss_is_the_one_that_is_told():
    gang, boards = await a_gang()
    gang.jobs[2].cancel()
    await boards[2].record(CancelRequested(at=NOW))
    await boards[0].record(DeadlinePassed(at=NOW))
    assert gang.lost == "gang member 2 was cancelled before it started"


@pytest.mark.parametrize(
    ("events", "lost"),
    [
        ([{"type": "leased"}, {"type": "running"}, {"type": "failed", "code": "exit"}], ""),
        ([{"type": "leased"}, {"type": "failed", "code": "image"}], "gang member 1 could not start"),
        ([{"type": "failed", "code": "gang_incomplete", "message": "gang member 0 could not start"}],
         "gang member 0 could not start"),
    ],
)  # fmt: skip
def test_what_happened_before_a_restart_counts(events: list[dict[str, Any]], lost: str):
    gang = Gang(3)
    gang.is_over(1, events, cancelled=False)
    assert gang.lost == lost


async def test_who_was_ended_because_of_another_names_that_one_after_a_restart():
    gang, boards = await a_gang()
    gang.jobs[0].cancel("gang member 2 could not start")
    await boards[0].record(CancelRequested(at=NOW))
    assert gang.lost == "gang member 2 could not start"


async def test_all_that_have_not_ended_are_ended_also_when_the_disk_was_full(autojump_clock: MockClock):
    gang, boards = await a_gang(4)
    ended: list[tuple[Job, str]] = []
    full = [1]

    async def cancel(job: Job, why: str) -> None:
        await trio.lowlevel.checkpoint()
        if job is gang.jobs[3] and full:
            full.pop()
            raise Unavailable("the disk is full", code="disk_full")
        ended.append((job, why))

    for fact in (FUNDED, STARTED, ContainerExited(at=NOW, reason=ExitReason.OK, exit_code=0)):
        await boards[2].record(fact)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gang.stand_together, cancel)
        await trio.sleep(1)
        assert ended == []
        await boards[0].record(DeadlinePassed(at=NOW))
    assert {job for job, _ in ended} == {gang.jobs[1], gang.jobs[3]}
    assert {why for _, why in ended} == {"gang member 0 could not start"}


async def test_nobody_is_watched_when_all_are_over(autojump_clock: MockClock):
    gang, _ = await a_gang(2)

    async def cancel(job: Job, why: str) -> None:
        raise AssertionError("nobody was lost")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gang.stand_together, cancel)
        for job in gang.jobs:
            await trio.sleep(1)
            gang.leave(job)
