"""The journal's database: how it is opened, brought up to date, and what covers each of its rows.

A setting that costs money when it is wrong is read back from the connection, never assumed.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

import aiosqlite

from ledger.ports import JournalEntry
from market.codec import pack
from market.errors import BrokenInvariant

APPLICATION_ID = 0x4346_4A4C
GENESIS = bytes(32)
SEALED_SINCE = 2
"""The schema from which on values carry a seal, and transactions that only put values are counted."""
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


async def migrate(connection: aiosqlite.Connection, version: int) -> None:
    """Bring a schema that was found to be ``version`` up to date, each step in one transaction."""
    if await value_of(connection, "pragma journal_mode=wal") != "wal":
        raise BrokenInvariant("this file system cannot hold a write-ahead log", code="no_wal")
    await connection.create_function("seal_of", 2, seal, deterministic=True)
    for number, script in enumerate(steps()[version:], version + 1):
        await connection.executescript(step_script(number, script))


def step_script(number: int, script: str) -> str:
    """A migration as it is run: all of it or nothing."""
    return (
        "begin immediate;\n"
        "create table if not exists schema_version (version integer primary key) strict;\n"
        f"{script}\n"
        f"insert into schema_version values ({number});\n"
        f"pragma application_id={APPLICATION_ID};\n"
        "commit;"
    )


def chain_hash(previous: bytes, entry: JournalEntry) -> bytes:
    """SHA-256 over the hash of the entry before and the canonical encoding of this one."""
    body = pack([entry.position, entry.stream, entry.kind, entry.at_ms, entry.body])
    return hashlib.sha256(previous + body).digest()


def seal(key: str, value: bytes) -> bytes:
    """Half a SHA-256 over a value and its key: a bit that turned shows when it is read. No proof against forgers."""
    name = key.encode()
    return hashlib.sha256(len(name).to_bytes(4, "big") + name + value).digest()[:16]


async def value_of(connection: aiosqlite.Connection, sql: str, *parameters: object) -> Any:
    """The first column of the first row, or None."""
    rows = list(await connection.execute_fetchall(sql, parameters))
    return rows[0][0] if rows else None


def steps() -> list[str]:
    """All migrations, oldest first: number ``n`` leads from schema ``n - 1`` to ``n``."""
    folder = resources.files("ledger") / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    if [int(file.name[:4]) for file in files] != list(range(1, len(files) + 1)):
        raise BrokenInvariant("the migrations are not numbered one after the other")
    return [file.read_text("utf-8") for file in files]
