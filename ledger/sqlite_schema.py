"""The journal's database: how it is opened, brought up to date and found to be whole.

A setting that costs money when it is wrong is read back from the connection, never assumed. A damaged or newer
database is refused before anything is written to it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from importlib import resources
from typing import Any

import aiosqlite

from ledger.ports import JournalEntry
from market.codec import pack
from market.errors import BrokenInvariant, InvalidRequest

APPLICATION_ID = 0x4346_4A4C
GENESIS = bytes(32)
FULL_CHECK_ROWS = 100_000
"""Up to so many rows the whole hash chain is checked at every start; beyond, only what came since the check before."""
_CHECK_BATCH = 2_000
_WRITER = {"synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}
_READER = {"query_only": 1, "trusted_schema": 0}
_BUSY_MS = 5_000


async def connect(path: str, *, writer: bool) -> aiosqlite.Connection:
    """Open a connection; the writer syncs at each commit.

    ``synchronous=FULL`` is not a matter of taste: with NORMAL a power cut takes transactions that were acknowledged.
    """
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        await connection.execute_fetchall(f"pragma busy_timeout={_BUSY_MS}")
        for name, wanted in (_WRITER if writer else _READER).items():
            await connection.execute_fetchall(f"pragma {name}={wanted}")
            if await value_of(connection, f"pragma {name}") != wanted:
                raise BrokenInvariant(f"the database refuses {name}={wanted}", code="unsafe_database")
    except BaseException:
        await connection.close()
        raise
    return connection


async def migrate(connection: aiosqlite.Connection) -> None:
    """Bring the schema up to date, each step in one transaction. What is not ours is refused untouched.

    Raises:
        InvalidRequest: ``journal_newer``, or ``not_a_journal`` for a database of something else.
    """
    version = await _version(connection)
    steps = _steps()
    if version > len(steps):
        raise InvalidRequest(
            f"this journal has schema {version}, this program knows up to {len(steps)}",
            code="journal_newer",
            fix="start the newer version of the program again",
        )
    if await value_of(connection, "pragma journal_mode=wal") != "wal":
        raise BrokenInvariant("this file system cannot hold a write-ahead log", code="no_wal")
    for number, script in enumerate(steps[version:], version + 1):
        await connection.executescript(
            "begin immediate;\n"
            "create table if not exists schema_version (version integer primary key) strict;\n"
            f"{script}\n"
            f"insert into schema_version values ({number});\n"
            f"pragma application_id={APPLICATION_ID};\n"
            "commit;"
        )


async def check_pages(connection: aiosqlite.Connection) -> None:
    """Let SQLite look at every page. Raises InvalidRequest when one is damaged."""
    if await value_of(connection, "pragma quick_check(1)") != "ok":
        raise damaged("its pages are damaged")


async def check_chain(connection: aiosqlite.Connection) -> tuple[int, bytes]:
    """Follow the hash chain to its end, which is remembered and returned: last position and hash.

    Raises:
        InvalidRequest: ``journal_damaged``: an entry is missing or is not what was written.
    """
    position, chained = 0, GENESIS
    anchor = list(await connection.execute_fetchall("select position, hash from checked"))
    if anchor and anchor[0][0] > FULL_CHECK_ROWS:
        position, chained = anchor[0]
        found = await value_of(connection, "select hash from entry where position = ?", position)
        if found != chained:
            raise damaged(f"entry {position} is not the one that was checked before")
    query = "select position, stream, kind, at_ms, body, hash from entry where position > ? order by position limit ?"
    while batch := list(await connection.execute_fetchall(query, (position, _CHECK_BATCH))):
        for row in batch:
            entry = JournalEntry(position=row[0], stream=row[1], kind=row[2], at_ms=row[3], body=row[4])
            chained = chain_hash(chained, entry)
            if row[0] != position + 1 or row[5] != chained:
                raise damaged(f"entry {position + 1} is missing or was changed")
            position = row[0]
    if anchor and position < anchor[0][0]:
        raise damaged("entries are missing at its end")
    if position:
        await connection.execute_fetchall("insert or replace into checked values (1, ?, ?)", (position, chained))
    return position, chained


def chain_hash(previous: bytes, entry: JournalEntry) -> bytes:
    """SHA-256 over the hash of the entry before and the canonical encoding of this one."""
    body = pack([entry.position, entry.stream, entry.kind, entry.at_ms, entry.body])
    return hashlib.sha256(previous + body).digest()


def damaged(detail: str) -> InvalidRequest:
    return InvalidRequest(
        f"the journal cannot be trusted: {detail}",
        code="journal_damaged",
        fix="move the journal and the files beside it away, keep them, and restore a backup",
    )


async def value_of(connection: aiosqlite.Connection, sql: str, *parameters: object) -> Any:
    """The first column of the first row, or None."""
    rows = list(await connection.execute_fetchall(sql, parameters))
    return rows[0][0] if rows else None


async def _version(connection: aiosqlite.Connection) -> int:
    tables = list(await connection.execute_fetchall("select name from sqlite_schema where type = 'table'"))
    if not tables:
        return 0
    if await value_of(connection, "pragma application_id") != APPLICATION_ID:
        raise InvalidRequest("this database is not a journal", code="not_a_journal")
    try:
        return int(await value_of(connection, "select max(version) from schema_version"))
    except (sqlite3.OperationalError, TypeError):
        raise damaged("its schema version is missing") from None


def _steps() -> list[str]:
    folder = resources.files("ledger") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    if [int(file.name[:4]) for file in files] != list(range(1, len(files) + 1)):
        raise BrokenInvariant("the migrations are not numbered one after the other")
    return [file.read_text("utf-8") for file in files]
