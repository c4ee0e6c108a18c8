"""A job's history: told from the facts, in order, numbered without gaps, and the same after a restart."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ledger.ports import JournalEntry
from market import money
from market.duties import Role
from market.lease import (
    CancelRequested,
    ContainerExited,
    ContainerStarted,
    DeadlinePassed,
    Fact,
    FinalPaymentReceived,
    LaneFunded,
    PaymentReceived,
    SettlementConfirmed,
)
from market.records import ExitReason, JobSpec, Requirements
from node.control import JOB_EVENTS, JOB_STATES
from node.job_file.request import JobRequest
from node.job_journal import LEASED, SUBMITTED, Submitted, describe, history, job_entry, state_of
from node.job_terms import total_limit_price
from node.lease_board import LeaseBoard
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW

STORY: tuple[Any, ...] = (
    LaneFunded(at=NOW + 1, amount=9, transaction=b"\x01" * 32),
    ContainerStarted(at=NOW + 2, started_at=NOW + 2),
    PaymentReceived(at=NOW + 3, sequence=1, gpu_ms=0, amount=0),
    PaymentReceived(at=NOW + 4, sequence=2, gpu_ms=50, amount=5),
    ContainerExited(at=NOW + 5, reason=ExitReason.OK, exit_code=0),
    FinalPaymentReceived(at=NOW + 6, sequence=3, gpu_ms=60, amount=6),
    SettlementConfirmed(at=NOW + 7, transaction=b"", paid=6),
)


async def a_job(journal: MemoryJournal, *facts: Fact) -> LeaseBoard:
    await journal.append([job_entry("j", SUBMITTED, NOW, {})])
    await journal.append([job_entry("j", "matching", NOW, {"offers": 1})])
    await journal.append([job_entry("other", SUBMITTED, NOW, {})])
    board = await a_board(journal, Role.REQUESTER, job_id="j")
    await journal.append([job_entry("j", LEASED, NOW, {"lease": board.lease_id.hex()})])
    for fact in facts:
        assert await board.record(fact)
    return board


async def kinds(journal: MemoryJournal) -> list[str]:
    return [event["type"] for event in await history(journal, "j")]


async def test_the_whole_story_of_a_job_in_order():
    journal = MemoryJournal()
    await a_job(journal, *STORY)
    await journal.append([job_entry("j", "succeeded", NOW + 8, {"exit_code": 0})])
    told = ["queued", "matching", "leased", "funded", "running", "paid", "paid", "exited", "paid", "succeeded"]
    assert await kinds(journal) == told
    assert set(told) <= set(JOB_EVENTS)


async def test_numbers_are_dense_and_never_change_as_the_story_grows():
    journal, before = MemoryJournal(), []
    board = await a_job(journal)
    for fact in STORY:
        await board.record(fact)
        await board.note("bookkeeping", b"x", NOW)
        events = await history(journal, "j")
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert events[: len(before)] == before
        before = events
    assert await history(journal.crash(), "j") == before


async def test_a_job_nobody_submitted_has_no_history():
    assert await history(MemoryJournal(), "j") == []


async def test_bookkeeping_is_not_told():
    journal = MemoryJournal()
    board = await a_job(journal)
    before = await history(journal, "j")
    await journal.append([job_entry("j", "cancel_requested", NOW, {})])
    await board.note("detail", b"anything", NOW)
    assert await history(journal, "j") == before


@pytest.mark.parametrize("kind", ["preparing", "outputs", "settled"])
async def test_notes_worth_showing_are_shown(kind: str):
    journal = MemoryJournal()
    board = await a_job(journal)
    await board.note(kind, msgspec.json.encode({"detail": "x"}), NOW)
    newest = (await history(journal, "j"))[-1]
    assert (newest["type"], newest["detail"]) == (kind, "x")


STATES = ["funding", "preparing", "running", "running", "running", "ending", "settling", "settling"]


@pytest.mark.parametrize("count", range(len(STORY) + 1))
async def test_the_state_follows_the_story(count: int):
    journal = MemoryJournal()
    await a_job(journal, *STORY[:count])
    assert state_of(await history(journal, "j")) == STATES[count]


@pytest.mark.parametrize("word", ["succeeded", "failed", "cancelled"])
async def test_an_end_is_an_end_whatever_else_is_told(word: str):
    journal = MemoryJournal()
    board = await a_job(journal, *STORY[:5])
    await journal.append([job_entry("j", word, NOW, {})])
    await board.record(STORY[5])
    assert state_of(await history(journal, "j")) == word


def test_states_are_those_that_are_announced():
    assert state_of([]) == "queued"
    assert set(STATES) <= set(JOB_STATES)


@pytest.mark.parametrize("fact", [CancelRequested(at=NOW), DeadlinePassed(at=NOW)])
async def test_a_job_that_is_stopped_is_ending(fact: Fact):
    journal = MemoryJournal()
    await a_job(journal, *STORY[:4], fact)
    assert state_of(await history(journal, "j")) == "ending"


async def test_a_start_at_the_end_of_time_can_still_be_told():
    """The provider chooses this number: a date that cannot be written would stop us at every start."""
    journal = MemoryJournal()
    last = 253_402_300_799_999
    await a_job(journal, STORY[0], ContainerStarted(at=NOW, started_at=last))
    assert (await history(journal, "j"))[-1]["started_at"] == "9999-12-31T23:59:59.999Z"


def test_an_entry_of_a_future_version_is_left_out():
    entry = JournalEntry(position=1, stream="lease/00", kind="SomethingNew", at_ms=NOW, body=b"\xc1")
    assert describe(entry) is None


@pytest.mark.parametrize(
    ("max_price", "max_total", "expected"),
    [(100_000, 10**12, 100_000), (10**9, 60_000, 100_000), (10**9, 0, 0), (0, 10**12, 0)],
)
def test_the_total_limits_the_price(max_price: int, max_total: int, expected: int):
    spec = JobSpec(image="x", command=("x",), requirements=Requirements(slots=1), max_duration_ms=600_000)
    request = JobRequest(name="job", spec=spec, max_price=max_price, max_total=max_total)
    assert total_limit_price(request) == expected
    assert money.amount_due(expected, 600_000) <= max_total


def test_a_job_that_was_submitted_before_there_were_gangs_is_read():
    request = JobRequest(name="j", spec=JobSpec(image="a", command=(), max_duration_ms=1_000), max_price=1, max_total=1)
    plain = msgspec.to_builtins(Submitted(request=request, spec=request.spec, salt=bytes(16)))
    for later in ("quotes", "machines"):
        del plain["request"][later]
    del plain["gang"]
    found = msgspec.json.decode(msgspec.json.encode(plain), type=Submitted)
    assert (found.gang, found.request) == (None, request)
