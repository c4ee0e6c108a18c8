"""A full disk, as far as SQLite is concerned: told, nothing half written, and the last room for urgent entries."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from ledger import sqlite_schema
from ledger.ports import NewEntry
from ledger.sqlite_file import Ballast
from ledger.sqlite_journal import SqliteJournal, open_journal
from market.errors import Unavailable

KIB = 1024


def fact(body: bytes = b"body") -> NewEntry:
    return NewEntry(stream="a", kind="Happened", at_ms=1, body=body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node" / "journal.db"


async def limit_pages(journal: SqliteJournal, spare: int) -> None:
    """Make the disk full for real as far as SQLite is concerned: the database may grow by so many pages only."""
    pages = await journal._thread.run(lambda: sqlite_schema.value_of(journal._writer, "pragma page_count"))
    await journal._thread.run(lambda: sqlite_schema.value_of(journal._writer, f"pragma max_page_count={pages + spare}"))


async def test_a_full_disk_is_told_and_nothing_is_half_written(path: Path) -> None:
    async with open_journal(path, ballast_bytes=0) as journal:
        await journal.append([fact(b"kept")])
        await limit_pages(journal, 2)
        with pytest.raises(Unavailable) as refused:
            await journal.append([fact(b"small"), fact(b"x" * 100 * KIB)], {"key": b"value"})
        assert refused.value.code == "disk_full"
        assert [entry.body for entry in await journal.read_all()] == [b"kept"]
        assert await journal.get("key") is None
        await limit_pages(journal, 1000)
        [written] = await journal.append([fact(b"later")])
        assert written.position == 2
    async with open_journal(path):
        pass


async def test_an_urgent_entry_gets_the_room_that_was_kept_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ballast = path.with_name("journal.db.ballast")
    release = Ballast.release

    async with open_journal(path, ballast_bytes=64 * KIB) as journal:

        def release_makes_room(self: Ballast) -> bool:
            grow = partial(journal._writer.execute_fetchall, "pragma max_page_count=10000")
            journal._thread._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(grow()))
            return release(self)

        monkeypatch.setattr(Ballast, "release", release_makes_room)
        assert ballast.stat().st_blocks * 512 >= 64 * KIB
        await limit_pages(journal, 1)
        with pytest.raises(Unavailable):
            await journal.append([fact(b"x" * 50 * KIB)])
        assert ballast.exists()
        [voucher] = await journal.append([fact(b"voucher" * 5000)], urgent=True)
        assert not ballast.exists()
        assert await journal.read_all() == [voucher]
        # The room that was given away is for vouchers: nothing else may use it up.
        monkeypatch.setattr(Ballast, "_put", lambda self: False)
        with pytest.raises(Unavailable) as refused:
            await journal.append([fact(b"a new grant")])
        assert refused.value.code == "disk_full"
        await journal.append([fact(b"another voucher")], urgent=True)
        monkeypatch.undo()
        await journal.append([fact(b"a new grant")])
        assert ballast.exists(), "kept back again as soon as there is room"


async def test_without_room_kept_back_even_an_urgent_entry_is_refused(path: Path) -> None:
    async with open_journal(path, ballast_bytes=0) as journal:
        await limit_pages(journal, 1)
        with pytest.raises(Unavailable) as refused:
            await journal.append([fact(b"x" * 50 * KIB)], urgent=True)
        assert refused.value.code == "disk_full"
        assert await journal.read_all() == []
