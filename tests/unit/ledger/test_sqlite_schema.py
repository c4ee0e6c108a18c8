"""How the journal's database is opened and brought up to date, from every schema that ever was."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import aiosqlite
import pytest

from ledger import sqlite_schema
from ledger.ports import JournalEntry, NewEntry
from ledger.sqlite_check import examine
from ledger.sqlite_journal import open_journal
from ledger.sqlite_schema import GENESIS, chain_hash, connect, migrate, seal, steps, value_of
from market.codec import pack
from market.errors import BrokenInvariant

OLD_JOURNALS = Path(__file__).parents[2] / "fakes" / "journals"
fresh = partial(migrate, version=0)


def with_connection(path: Path, work: Callable[[aiosqlite.Connection], Awaitable[object]]) -> object:
    async def main() -> object:
        connection = await connect(str(path), writer=True)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(main())


def test_a_new_database_gets_the_newest_schema_once(tmp_path: Path) -> None:
    async def twice(connection: aiosqlite.Connection) -> object:
        await migrate(connection, 0)
        await migrate(connection, len(steps()))
        return await value_of(connection, "select count(*) from schema_version")

    assert with_connection(tmp_path / "journal.db", twice) == len(steps())
    assert examine(tmp_path / "journal.db").version == len(steps())


@pytest.mark.parametrize("version", range(1, len(steps())))
async def test_a_journal_of_every_older_schema_is_still_read(tmp_path: Path, version: int) -> None:
    """The files are dumps of journals that were written by the programs of their time."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as old:
        old.executescript((OLD_JOURNALS / f"{version:04d}.sql").read_text("utf-8"))
    old.close()
    assert examine(path).version == version

    for _ in range(2):
        async with open_journal(path, ballast_bytes=0) as journal:
            assert [entry.kind for entry in await journal.read("lease/a")][:2] == ["Granted", "Paid"]
            assert (await journal.read_all())[2].body == b"{}"
            assert await journal.get("lane/1") == b"newer books"
            assert await journal.get_all("lease/") == {"lease/\u00e9": b"\x00"}
            await journal.append([NewEntry(stream="lease/a", kind="Ended", at_ms=1, body=b"")], {"new": b"value"})
    assert examine(path).version == len(steps())


def test_a_step_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    with_connection(path, fresh)
    known = steps()
    broken = [*known, "create table half (id integer) strict;\ncreate table entry (id integer);"]
    monkeypatch.setattr(sqlite_schema, "steps", lambda: broken)
    with pytest.raises(sqlite3.OperationalError):
        with_connection(path, partial(migrate, version=len(known)))
    monkeypatch.setattr(sqlite_schema, "steps", lambda: [*known, "create table whole (id integer) strict;"])

    with_connection(path, partial(migrate, version=len(known)))
    tables = {row[0] for row in sqlite3.connect(path).execute("select name from sqlite_schema")}
    assert "whole" in tables
    assert "half" not in tables


def test_a_setting_that_does_not_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlite_schema._WRITER, "synchronous", 7)
    with pytest.raises(BrokenInvariant) as refused:
        with_connection(tmp_path / "journal.db", fresh)
    assert refused.value.code == "unsafe_database"


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(BrokenInvariant) as refused:
        with_connection(Path(":memory:"), fresh)
    assert refused.value.code == "no_wal"


def test_the_reader_cannot_write(tmp_path: Path) -> None:
    with_connection(tmp_path / "journal.db", fresh)

    async def main() -> None:
        reader = await connect(str(tmp_path / "journal.db"), writer=False)
        try:
            await reader.execute_fetchall("insert into value values ('key', x'00')")
        finally:
            await reader.close()

    with pytest.raises(sqlite3.OperationalError):
        asyncio.run(main())


def test_each_hash_covers_the_whole_entry_and_the_one_before() -> None:
    entry = JournalEntry(position=1, stream="a", kind="k", at_ms=3, body=b"b")
    expected = hashlib.sha256(GENESIS + pack([1, "a", "k", 3, b"b"])).digest()

    assert chain_hash(GENESIS, entry) == expected
    others = [
        JournalEntry(position=2, stream="a", kind="k", at_ms=3, body=b"b"),
        JournalEntry(position=1, stream="ak", kind="", at_ms=3, body=b"b"),
        JournalEntry(position=1, stream="a", kind="k", at_ms=4, body=b"b"),
        JournalEntry(position=1, stream="a", kind="k", at_ms=3, body=b"c"),
    ]
    hashes = {chain_hash(GENESIS, other) for other in others} | {chain_hash(expected, entry), expected}
    assert len(hashes) == 6


def test_a_seal_covers_key_and_value() -> None:
    seals = {seal("ab", b"c"), seal("a", b"bc"), seal("ab", b"d"), seal("ac", b"c"), seal("abc", b"")}
    assert len(seals) == 5
    assert {len(one) for one in seals} == {16}
