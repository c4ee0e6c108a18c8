"""Calls that wait for the disk share its next sync, keep their order, and answer each for itself."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ledger.append_queue import MAX_TOGETHER, Append, AppendQueue
from ledger.ports import NewEntry
from ledger.sqlite_end_mark import Reached
from market.errors import Unavailable


class SlowDisk:
    """Commits take a second; a call whose put says so fails."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.queue = AppendQueue(self.commit)

    async def commit(self, batch: list[Append]) -> None:
        self.batches.append([name for one in batch for name in one.put])
        await trio.sleep(1)
        for one in batch:
            if "bad" in one.put:
                one.error = Unavailable("bad", code="bad")
        if "broken" in batch[0].put:
            raise Unavailable("the whole disk", code="broken")

    async def put(self, name: str) -> None:
        await self.queue.through(Append((), {name: b""}, urgent=False))


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


async def test_who_comes_during_a_commit_shares_the_next(autojump_clock: MockClock, disk: SlowDisk) -> None:
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(disk.put, name)
            await wait_all_tasks_blocked()
        await trio.sleep(1.5)
        nursery.start_soon(disk.put, "d")
    assert disk.batches == [["a"], ["b", "c"], ["d"]]
    await disk.put("e")
    assert disk.batches[-1] == ["e"]


async def test_a_failure_is_told_to_whom_it_concerns(autojump_clock: MockClock, disk: SlowDisk) -> None:
    failed: list[str] = []

    async def put(name: str) -> None:
        try:
            await disk.put(name)
        except Unavailable as error:
            failed.append(f"{name} {error.code}")

    async with trio.open_nursery() as nursery:
        for name in ("first", "good", "bad", "fine"):
            nursery.start_soon(put, name)
            await wait_all_tasks_blocked()
        await trio.sleep(1.5)
        for name in ("broken", "beside it"):
            nursery.start_soon(put, name)
            await wait_all_tasks_blocked()
    assert failed == ["bad bad", "broken broken", "beside it broken"]
    await disk.put("afterwards")


async def test_a_cancelled_caller_still_learns_the_outcome(autojump_clock: MockClock, disk: SlowDisk) -> None:
    ended: list[str] = []

    async def put(name: str) -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await disk.put(name)
            ended.append(name)

    scopes: list[trio.CancelScope] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, "leader")
        await wait_all_tasks_blocked()
        nursery.start_soon(put, "waiting")
        await wait_all_tasks_blocked()
        for scope in scopes:
            scope.cancel()
        nursery.start_soon(put, "later")
    assert ended == ["leader", "waiting", "later"]


async def test_one_commit_is_bounded(autojump_clock: MockClock, disk: SlowDisk) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.put, "first")
        await wait_all_tasks_blocked()
        for number in range(MAX_TOGETHER + 1):
            nursery.start_soon(disk.put, f"{number:03}")
    assert [len(batch) for batch in disk.batches] == [1, MAX_TOGETHER, 1]


def test_entries_are_chained_in_order_and_puts_alone_are_counted() -> None:
    rows: list[tuple[int, str, str, int, bytes, bytes]] = []
    two = Append([NewEntry(stream="a", kind="k", at_ms=1, body=b"%d" % n) for n in range(2)], {"key": b""}, False)
    reached = two.chain(Reached(7, 1, b"\1" * 32), rows)
    assert [row[0] for row in rows] == [entry.position for entry in two.written] == [8, 9]
    assert (reached.position, reached.puts, reached.hash) == (9, 1, rows[-1][-1])
    assert Append((), {"key": b""}, False).chain(reached, rows) == Reached(9, 2, reached.hash)
    assert Append((), {}, False).chain(reached, rows) == reached
