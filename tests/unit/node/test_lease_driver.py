"""One task carries a lease: the duty of its stage, deadlines by the clock, and patience with the world."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from market.duties import Duty, Role
from market.errors import BrokenInvariant, InvalidRequest, PeerFault, Unavailable
from market.lease import (
    CancelRequested,
    ContainerStarted,
    FinalPaymentReceived,
    LaneFunded,
    PaymentReceived,
    SettlementConfirmed,
    Stage,
)
from node.lease_board import LeaseBoard
from node.lease_driver import drive_lease
from node.ports import PeerUnreachable
from runtime.ports import ContainerLost
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import TERMS
from tests.simulation.marketplace import SimulatedClock

CLOCK = SimulatedClock()
Perform = Callable[[Duty, LeaseBoard], Awaitable[None]]


async def drive(board: LeaseBoard, perform: Perform) -> None:
    await drive_lease(board, perform, CLOCK, rng=random.Random(1))


class Story:
    """Performs duties by recording facts, and remembers the order."""

    def __init__(self, **facts: Any) -> None:
        self.seen: list[Duty] = []
        self.facts = facts

    async def __call__(self, what: Duty, board: LeaseBoard) -> None:
        self.seen.append(what)
        for fact in self.facts.get(str(what), ()):
            await board.record(fact(CLOCK.now_ms()))


HAPPY = {
    "confirm_funding": [lambda at: LaneFunded(at=at, amount=1)],
    "start_container": [lambda at: ContainerStarted(at=at, started_at=at)],
    "keep_running": [lambda at: CancelRequested(at=at)],
    "wind_down": [lambda at: FinalPaymentReceived(at=at, sequence=1, gpu_ms=0, amount=0)],
    "collect": [lambda at: SettlementConfirmed(at=at, transaction=b"", paid=0)],
}


async def fresh(role: Role = Role.PROVIDER) -> LeaseBoard:
    return await a_board(MemoryJournal(), role, now=CLOCK.now_ms())


async def test_each_stage_has_its_duty_and_the_last_is_done_once(autojump_clock: MockClock):
    board, story = await fresh(), Story(**HAPPY)
    await drive(board, story)
    assert story.seen == list(map(Duty, [*HAPPY, "release_slots"]))
    assert board.state.stage is Stage.SETTLED


async def test_a_requester_has_other_duties_in_the_same_stages(autojump_clock: MockClock):
    board, story = await fresh(Role.REQUESTER), Story()
    await drive(board, story)
    assert story.seen == [Duty.FUND_LANE, Duty.FREE_COVER]
    assert board.state.stage is Stage.LAPSED


async def test_a_lease_that_is_over_only_needs_its_last_duty(autojump_clock: MockClock):
    board, story = await fresh(), Story()
    await board.record(CancelRequested(at=CLOCK.now_ms()))
    await drive(board, story)
    assert story.seen == [Duty.RELEASE_SLOTS]


@pytest.mark.parametrize("lead", range(4))
async def test_a_deadline_ends_each_stage_in_time(autojump_clock: MockClock, lead: int):
    steps = list(HAPPY.items())[:lead]
    limits = [TERMS.fund_within_ms, TERMS.start_within_ms, TERMS.tick_ms + 2 * TERMS.grace_ms, TERMS.final_within_ms]
    board, began = await fresh(), trio.current_time()
    with trio.move_on_after(limits[lead] / 1000 + 1):
        await drive(board, Story(**dict(steps)))
    expected = [Stage.LAPSED, Stage.ENDING, Stage.ENDING, Stage.SETTLING][lead]
    assert board.state.stage is expected
    assert (board.state.since - CLOCK.now_ms()) / 1000 + trio.current_time() - began == pytest.approx(
        limits[lead] / 1000
    )


async def test_a_payment_moves_the_deadline_of_a_running_job(autojump_clock: MockClock):
    board = await fresh()

    async def pay(what: Duty, board: LeaseBoard) -> None:
        await Story(**dict(list(HAPPY.items())[:2]))(what, board)
        for number in range(1, 20) if what is Duty.KEEP_RUNNING else ():
            await trio.sleep(TERMS.tick_ms / 1000)
            await board.record(PaymentReceived(at=CLOCK.now_ms(), sequence=number, gpu_ms=0, amount=0))

    with trio.move_on_after(19 * TERMS.tick_ms / 1000 + 1):
        await drive(board, pay)
    assert board.state.stage is Stage.RUNNING


async def test_the_old_duty_is_stopped_before_the_next_begins(autojump_clock: MockClock):
    board, running, most = await fresh(), 0, 0

    async def perform(what: Duty, board: LeaseBoard) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await Story(**HAPPY)(what, board)
            if what is not Duty.RELEASE_SLOTS:
                await trio.sleep_forever()
        finally:
            running -= 1

    await drive(board, perform)
    assert (running, most) == (0, 1)


PATIENT = [
    Unavailable("x"),
    PeerUnreachable("x"),
    PeerFault("x"),
    InvalidRequest("x"),
    ContainerLost("x"),
    OSError(28, "no space left on device"),
]


@pytest.mark.parametrize("error", PATIENT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("depth", [0, 1, 3])
async def test_a_duty_is_repeated_while_the_world_is_in_the_way(
    autojump_clock: MockClock, error: Exception, depth: int
):
    """Raised plainly, or out of the duty's own tasks, however deep."""
    board, story, failed = await fresh(), Story(**HAPPY), 0

    async def fail(left: int) -> None:
        if not left:
            raise error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, left - 1)

    async def perform(what: Duty, board: LeaseBoard) -> None:
        nonlocal failed
        if failed < 3:
            failed += 1
            await fail(depth)
        await story(what, board)

    await drive(board, perform)
    assert failed == 3
    assert board.state.stage is Stage.SETTLED


@pytest.mark.parametrize("error", [BrokenInvariant("x"), KeyError("x"), AssertionError("x")])
async def test_our_own_mistakes_are_not_repeated(autojump_clock: MockClock, error: Exception):
    board = await fresh()

    async def perform(_what: Duty, _board: LeaseBoard) -> None:
        raise error

    with pytest.raises(BaseExceptionGroup) as raised:
        await drive(board, perform)
    assert raised.value.subgroup(type(error)) is not None


async def test_a_deadline_that_cannot_be_written_stands(autojump_clock: MockClock):
    journal = MemoryJournal()
    board = await a_board(journal, now=CLOCK.now_ms())
    journal.full = True

    async def make_room() -> None:
        await trio.sleep(TERMS.fund_within_ms / 1000 + 30)
        assert board.state.stage is Stage.GRANTED
        journal.full = False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make_room)
        await drive(board, Story())
    assert board.state.stage is Stage.LAPSED


async def test_retries_slow_down(autojump_clock: MockClock):
    board, moments = await fresh(), []

    async def perform(_what: Duty, _board: LeaseBoard) -> None:
        moments.append(trio.current_time())
        raise Unavailable("x")

    with trio.move_on_after(59):
        await drive(board, perform)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert len(gaps) < 15
    assert max(gaps) <= 15 * 1.5
    assert gaps[0] < 0.5


async def test_a_requester_is_told_once_what_its_job_waits_for(autojump_clock: MockClock):
    board = await fresh(Role.REQUESTER)

    async def perform(what: Duty, board: LeaseBoard) -> None:
        if what is Duty.FUND_LANE:
            raise Unavailable("the chain at http://127.0.0.1:1 does not answer \udcff")

    await drive(board, perform)
    assert board.state.stage is Stage.LAPSED
    entries = await board._journal.read(board.stream)
    told = [entry.body for entry in entries if entry.kind == "waiting"]
    assert len(told) == 1
    assert b"does not answer" in told[0]
