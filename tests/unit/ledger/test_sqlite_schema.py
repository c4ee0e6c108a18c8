"""How the journal's database is opened and found to be whole."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiosqlite
import pytest

from ledger import sqlite_schema
from ledger.ports import JournalEntry
from ledger.sqlite_schema import GENESIS, chain_hash, check_chain, connect, migrate, value_of
from market.codec import pack
from market.errors import BrokenInvariant, InvalidRequest


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
        await migrate(connection)
        await migrate(connection)
        assert await check_chain(connection) == (0, GENESIS)
        return await value_of(connection, "select count(*) from schema_version")

    assert with_connection(tmp_path / "journal.db", twice) == len(sqlite_schema._steps())


def test_a_step_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    with_connection(path, migrate)
    steps = sqlite_schema._steps()
    broken = [*steps, "create table half (id integer) strict;\ncreate table entry (id integer);"]
    monkeypatch.setattr(sqlite_schema, "_steps", lambda: broken)
    with pytest.raises(sqlite3.OperationalError):
        with_connection(path, migrate)
    monkeypatch.setattr(sqlite_schema, "_steps", lambda: [*steps, "create table whole (id integer) strict;"])

    with_connection(path, migrate)
    tables = {row[0] for row in sqlite3.connect(path).execute("select name from sqlite_schema")}
    assert "whole" in tables
    assert "half" not in tables


def test_a_setting_that_does_not_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sqlite_schema._WRITER, "synchronous", 7)
    with pytest.raises(BrokenInvariant) as refused:
        with_connection(tmp_path / "journal.db", migrate)
    assert refused.value.code == "unsafe_database"


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(BrokenInvariant) as refused:
        with_connection(Path(":memory:"), migrate)
    assert refused.value.code == "no_wal"


def test_the_reader_cannot_write(tmp_path: Path) -> None:
    with_connection(tmp_path / "journal.db", migrate)

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


def test_an_entry_put_in_by_hand_is_noticed(tmp_path: Path) -> None:
    async def insert(connection: aiosqlite.Connection) -> object:
        await migrate(connection)
        await connection.execute_fetchall("insert into entry values (1, 'a', 'k', 1, x'00', zeroblob(32))")
        return await check_chain(connection)

    with pytest.raises(InvalidRequest) as refused:
        with_connection(tmp_path / "journal.db", insert)
    assert refused.value.code == "journal_damaged"
