"""What every journal promises, asked of the real one and of the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from ledger.ports import Journal, NewEntry
from ledger.sqlite_journal import open_journal
from tests.fakes.memory_journal import MemoryJournal


@pytest.fixture(params=["memory", "sqlite"])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
    else:
        async with open_journal(tmp_path / "journal.db", ballast_bytes=0) as opened:
            yield opened


def fact(stream: str, kind: str = "Happened", body: bytes = b"", at_ms: int = 1) -> NewEntry:
    return NewEntry(stream=stream, kind=kind, at_ms=at_ms, body=body)


async def test_what_was_appended_is_read_back_whole(journal: Journal) -> None:
    [written] = await journal.append([fact("lease/a", "Granted", b"\x00\xffbody", at_ms=2**53)])

    assert await journal.read("lease/a") == [written]
    assert (written.position, written.stream, written.kind) == (1, "lease/a", "Granted")
    assert (written.at_ms, written.body) == (2**53, b"\x00\xffbody")


async def test_positions_are_dense_over_all_streams(journal: Journal) -> None:
    await journal.append([fact("a"), fact("b")])
    await journal.append([fact("a")])

    assert [entry.position for entry in await journal.read_all()] == [1, 2, 3]
    assert [entry.position for entry in await journal.read("a")] == [1, 3]


async def test_reading_all_is_filtered_by_prefix_position_and_limit(journal: Journal) -> None:
    await journal.append([fact(stream) for stream in ("lease/a", "other", "lease/b", "leased", "lease/a")])

    assert [e.position for e in await journal.read_all(prefix="lease/")] == [1, 3, 5]
    assert [e.position for e in await journal.read_all(prefix="lease/", after=1)] == [3, 5]
    assert [e.position for e in await journal.read_all(prefix="lease/", limit=2)] == [1, 3]
    assert [e.position for e in await journal.read_all(after=3)] == [4, 5]
    assert await journal.read_all(after=99) == []


async def test_streams_come_oldest_first(journal: Journal) -> None:
    await journal.append([fact("lease/z"), fact("lease/a"), fact("lease/z"), fact("job/1")])

    assert await journal.streams("lease/") == ["lease/z", "lease/a"]
    assert await journal.streams("") == ["lease/z", "lease/a", "job/1"]
    assert await journal.streams("lease/%") == []


async def test_the_value_table_keeps_the_newest(journal: Journal) -> None:
    await journal.append([fact("a")], {"lane/1": b"old", "lane/2": b"two", "seen": b"x"})
    await journal.append([], {"lane/1": b"new"})

    assert await journal.get("lane/1") == b"new"
    assert await journal.get("lane/3") is None
    assert await journal.get_all("lane/") == {"lane/1": b"new", "lane/2": b"two"}


async def test_an_append_cancelled_before_it_began_writes_nothing(journal: Journal) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await journal.append([fact("a")], {"key": b"value"})

    assert scope.cancelled_caught
    assert await journal.read_all() == []
    assert await journal.get("key") is None


async def test_concurrent_appends_do_not_mix(journal: Journal) -> None:
    async def write(stream: str) -> None:
        for _ in range(5):
            await journal.append([fact(stream, "First"), fact(stream, "Second")])

    async with trio.open_nursery() as nursery:
        for stream in ("a", "b", "c"):
            nursery.start_soon(write, stream)

    entries = await journal.read_all()
    assert [entry.position for entry in entries] == list(range(1, 31))
    for first, second in zip(entries[::2], entries[1::2], strict=True):
        assert (first.kind, second.kind, first.stream) == ("First", "Second", second.stream)


async def test_what_is_handed_out_cannot_change_what_is_kept(journal: Journal) -> None:
    body = bytearray(b"body")
    await journal.append([NewEntry(stream="a", kind="k", at_ms=0, body=bytes(body))])
    body[:] = b"evil"

    assert (await journal.read("a"))[0].body == b"body"
