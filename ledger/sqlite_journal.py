"""The journal in SQLite: what :meth:`SqliteJournal.append` returned from survives kill -9 and a power cut.

One writer, one transaction per call, a write-ahead log synced at each commit. aiosqlite by itself commits half of a
cancelled transaction and hangs the interpreter when it is not closed; so it lives in a side thread, each transaction
runs to its end once begun, and the connections are always closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import trio

from ledger.asyncio_thread import AsyncioThread, open_asyncio_thread
from ledger.ports import JournalEntry, NewEntry
from ledger.sqlite_file import Ballast, only_process
from ledger.sqlite_schema import chain_hash, check_chain, check_pages, connect, damaged, migrate
from market.errors import BrokenInvariant, FabricError, Unavailable

BALLAST_BYTES = 16 * 1024 * 1024
MAX_BODY = 1024 * 1024
_COLUMNS = "position, stream, kind, at_ms, body"
_BEYOND = "\U0010ffff"
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOST_SYNC = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
T = TypeVar("T")


class SqliteJournal:
    """The ``Journal`` port; made by :func:`open_journal`."""

    def __init__(
        self,
        thread: AsyncioThread,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        ballast: Ballast,
        end: tuple[int, bytes],
    ) -> None:
        self._thread = thread
        self._writer = writer
        self._reader = reader
        self._ballast = ballast
        self._end = end
        self._lock = trio.StrictFIFOLock()
        self._sync_lost = False

    async def append(
        self, entries: Sequence[NewEntry], put: dict[str, bytes] | None = None, *, urgent: bool = False
    ) -> list[JournalEntry]:
        async with self._lock:
            if self._sync_lost:
                raise Unavailable("the disk failed under the journal; restart the node", code="journal_failed")
            written, hashes = self._chained(entries)
            try:
                await self._write(written, hashes, put or {})
            except Unavailable as error:
                if not (urgent and error.code == "disk_full" and self._ballast.release()):
                    raise
                await self._write(written, hashes, put or {})
            if written:
                self._end = (written[-1].position, hashes[-1])
            return written

    async def read(self, stream: str) -> list[JournalEntry]:
        return _entries(
            await self._select(f"select {_COLUMNS} from entry where stream = ? order by position", (stream,))
        )

    async def read_all(self, *, prefix: str = "", after: int = 0, limit: int = 10_000) -> list[JournalEntry]:
        wanted = f"select {_COLUMNS} from entry where position > ?"
        if not prefix:
            return _entries(await self._select(f"{wanted} order by position limit ?", (after, limit)))
        return _entries(
            await self._select(
                f"{wanted} and stream >= ? and stream < ? order by position limit ?",
                (after, prefix, prefix + _BEYOND, limit),
            )
        )

    async def streams(self, prefix: str) -> list[str]:
        found = await self._select(
            "select stream from entry where stream >= ? and stream < ? group by stream order by min(position)",
            (prefix, prefix + _BEYOND),
        )
        return [str(row[0]) for row in found]

    async def get(self, key: str) -> bytes | None:
        found = await self._select("select value from value where key = ?", (key,))
        return bytes(found[0][0]) if found else None

    async def get_all(self, prefix: str) -> dict[str, bytes]:
        found = await self._select(
            "select key, value from value where key >= ? and key < ? order by key", (prefix, prefix + _BEYOND)
        )
        return {str(key): bytes(value) for key, value in found}

    def _chained(self, entries: Sequence[NewEntry]) -> tuple[list[JournalEntry], list[bytes]]:
        position, chained = self._end
        written, hashes = [], []
        for new in entries:
            if len(new.body) > MAX_BODY:
                raise BrokenInvariant(f"a journal entry of {len(new.body)} bytes", code="entry_too_large")
            position += 1
            entry = JournalEntry(
                position=position, stream=new.stream, kind=new.kind, at_ms=new.at_ms, body=bytes(new.body)
            )
            chained = chain_hash(chained, entry)
            written.append(entry)
            hashes.append(chained)
        return written, hashes

    async def _write(self, written: list[JournalEntry], hashes: list[bytes], put: dict[str, bytes]) -> None:
        rows = [(e.position, e.stream, e.kind, e.at_ms, e.body, hash) for e, hash in zip(written, hashes, strict=True)]
        try:
            await self._thread.run(partial(_transaction, self._writer, rows, list(put.items())), shield=True)
        except sqlite3.Error as error:
            self._sync_lost = self._sync_lost or error.sqlite_errorcode in _LOST_SYNC
            raise _translated(error) from error

    async def _select(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            rows = await self._thread.run(lambda: self._reader.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise _translated(error) from error
        return [tuple(row) for row in rows]


@asynccontextmanager
async def open_journal(path: Path | str, *, ballast_bytes: int = BALLAST_BYTES) -> AsyncIterator[SqliteJournal]:
    """Open the journal at ``path``, making it if there is none, and check it before it is trusted.

    Args:
        path: the database. A lock, the write-ahead log and the ballast lie beside it. All have mode 0600.
        ballast_bytes: room kept back for urgent entries on a full disk.

    Raises:
        InvalidRequest: ``already_running``, ``journal_newer``, ``journal_damaged``, ``not_a_journal`` or
            ``journal_unreachable``.
    """
    path = Path(path)
    with only_process(path):
        ballast = Ballast(path, ballast_bytes)
        async with (
            open_asyncio_thread("journal") as thread,
            _connected(thread, path, writer=True) as writer,
        ):
            end = await _opened(thread, writer)
            ballast.fill()
            async with _connected(thread, path, writer=False) as reader:
                yield SqliteJournal(thread, writer, reader, ballast, end)


async def _opened(thread: AsyncioThread, writer: aiosqlite.Connection) -> tuple[int, bytes]:
    async def prepare() -> tuple[int, bytes]:
        await check_pages(writer)
        await migrate(writer)
        return await check_chain(writer)

    return await _translating(thread, prepare)


@asynccontextmanager
async def _connected(thread: AsyncioThread, path: Path, *, writer: bool) -> AsyncIterator[aiosqlite.Connection]:
    # Shielded: a connection that was opened but not handed over would never be closed.
    connection = await _translating(thread, partial(connect, str(path), writer=writer))
    try:
        yield connection
    finally:
        with trio.CancelScope(shield=True), suppress(sqlite3.Error):
            await thread.run(connection.close, shield=True)


async def _transaction(
    writer: aiosqlite.Connection,
    rows: Sequence[tuple[int, str, str, int, bytes, bytes]],
    values: Sequence[tuple[str, bytes]],
) -> None:
    await writer.execute_fetchall("begin immediate")
    try:
        if rows:
            await writer.executemany("insert into entry values (?, ?, ?, ?, ?, ?)", rows)
        if values:
            await writer.executemany("insert or replace into value values (?, ?)", values)
        await writer.execute_fetchall("commit")
    except BaseException:
        with suppress(sqlite3.Error):
            if writer.in_transaction:
                await writer.rollback()
        raise


async def _translating(thread: AsyncioThread, call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await thread.run(call, shield=True)
    except sqlite3.Error as error:
        raise _translated(error) from error


def _translated(error: sqlite3.Error) -> FabricError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGE:
        return damaged(str(error))
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(
            "the disk is full: the journal cannot be written", code="disk_full", fix="make room on the disk"
        )
    if code in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_ERROR):
        return BrokenInvariant(f"the journal refused an entry: {error}", code="journal_refused")
    return Unavailable(f"the journal cannot be written: {error}", code="journal_failed")


def _entries(rows: Iterable[tuple[Any, ...]]) -> list[JournalEntry]:
    return [
        JournalEntry(position=position, stream=stream, kind=kind, at_ms=at_ms, body=body)
        for position, stream, kind, at_ms, body in rows
    ]
