"""The journal in SQLite: what :meth:`SqliteJournal.append` returned from survives kill -9 and a power cut.

One writer, a write-ahead log synced at each commit; calls that wait for a commit go together into the next one.
aiosqlite by itself commits half of a cancelled transaction and hangs the interpreter when it is not closed; so it lives
in a side thread, each transaction runs to its end once begun, and the connections are always closed.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import trio

from ledger.append_queue import Append, AppendQueue, Row
from ledger.asyncio_thread import AsyncioThread, open_asyncio_thread
from ledger.ports import OLD_COPY, JournalEntry, NewEntry
from ledger.sqlite_check import entry_of, examine
from ledger.sqlite_end_mark import EndMark, Reached, read_mark
from ledger.sqlite_errors import LOST_SYNC, damaged, disk_full, translated
from ledger.sqlite_file import Ballast, only_process
from ledger.sqlite_schema import GENESIS, chain_hash, connect, migrate, seal
from market.errors import BrokenInvariant, FabricError, Unavailable

BALLAST_BYTES = 16 * 1024 * 1024
MAX_BODY = 1024 * 1024
_COLUMNS = (
    "position, stream, kind, at_ms, body, hash,"
    " (select before.hash from entry as before where before.position = entry.position - 1)"
)
_LOG, _SHORT_LOG = 1000, 8
"""Pages of the write-ahead log before it is folded into the database: SQLite's own figure, and on a full disk."""
_BEYOND = "\U0010ffff"
T = TypeVar("T")


class SqliteJournal:
    """The ``Journal`` port; made by :func:`open_journal`."""

    def __init__(
        self,
        thread: AsyncioThread,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        ballast: Ballast,
        *,
        mark: EndMark,
        reached: Reached,
    ) -> None:
        self._thread = thread
        self._writer = writer
        self._reader = reader
        self._ballast = ballast
        self._mark = mark
        self._reached = reached
        self._queue = AppendQueue(self._commit)
        self._sync_lost = False
        self._log_pages = _LOG

    async def append(
        self, entries: Sequence[NewEntry], put: dict[str, bytes] | None = None, *, urgent: bool = False
    ) -> list[JournalEntry]:
        for new in entries:
            if len(new.body) > MAX_BODY:
                raise BrokenInvariant(f"a journal entry of {len(new.body)} bytes", code="entry_too_large")
        await trio.lowlevel.checkpoint_if_cancelled()
        return await self._queue.through(Append(entries, put or {}, urgent))

    async def _commit(self, batch: list[Append]) -> None:
        """Write what waits in one transaction. When that fails each goes alone: one may be at fault, or too large."""
        if self._sync_lost:
            raise Unavailable("the disk failed under the journal; restart the node", code="journal_failed")
        try:
            await self._write(batch)
        except (FabricError, TypeError, ValueError) as error:
            if len(batch) == 1:
                await self._commit_urgent(batch[0], error)
                return
            for one in batch:
                try:
                    await self._commit([one])
                except (FabricError, TypeError, ValueError) as own:
                    one.error = own

    async def _commit_urgent(self, one: Append, error: Exception) -> None:
        """The room that is kept back for a full disk is given to vouchers in hand, and to nothing else."""
        if not (one.urgent and isinstance(error, Unavailable) and error.code == "disk_full"):
            raise error
        self._ballast.release()
        await self._keep_log(_SHORT_LOG)
        await self._write([one])

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
        found = await self._select("select value, seal from value where key = ?", (key,))
        return _unsealed(key, *found[0]) if found else None

    async def get_all(self, prefix: str) -> dict[str, bytes]:
        found = await self._select(
            "select key, value, seal from value where key >= ? and key < ? order by key", (prefix, prefix + _BEYOND)
        )
        return {str(key): _unsealed(str(key), value, sealed) for key, value, sealed in found}

    async def _write(self, batch: list[Append]) -> None:
        if not all(one.urgent for one in batch):
            await self._refuse_without_reserve()
        rows: list[Row] = []
        values: dict[str, bytes] = {}
        reached = self._reached
        for one in batch:
            reached = one.chain(reached, rows)
            values.update(one.put)
        sealed = [(key, value, seal(key, value)) for key, value in values.items()]
        puts = reached.puts - self._reached.puts
        try:
            await self._thread.run(partial(_transaction, self._writer, rows, sealed, puts), shield=True)
        except sqlite3.Error as error:
            self._sync_lost = self._sync_lost or error.sqlite_errorcode in LOST_SYNC
            raise translated(error) from error
        self._reached = reached
        self._mark.write(reached)

    async def _refuse_without_reserve(self) -> None:
        if not self._ballast.fill():
            raise disk_full()  # What is left is for vouchers in hand: nothing new is begun.
        if self._log_pages != _LOG:
            await self._keep_log(_LOG)

    async def _keep_log(self, pages: int) -> None:
        """Fold the log into the database, and let it grow so long from now on: a short one leaves room for vouchers."""

        async def fold() -> None:
            await self._writer.execute_fetchall(f"pragma wal_autocheckpoint={pages}")
            await self._writer.execute_fetchall("pragma wal_checkpoint(truncate)")

        self._log_pages = pages
        with suppress(sqlite3.Error):
            await self._thread.run(fold, shield=True)

    async def _select(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            rows = await self._thread.run(lambda: self._reader.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            raise translated(error) from error
        return [tuple(row) for row in rows]


@asynccontextmanager
async def open_journal(path: Path | str, *, ballast_bytes: int = BALLAST_BYTES) -> AsyncIterator[SqliteJournal]:
    """Open the journal at ``path``, making it if there is none, and check it before it is trusted.

    Args:
        path: the database. A lock, the write-ahead log and the ballast lie beside it. All have mode 0600.
        ballast_bytes: room kept back for urgent entries on a full disk.

    Raises:
        InvalidRequest: ``already_running``, ``journal_newer``, ``journal_damaged``, ``journal_rolled_back``,
            ``not_a_journal`` or ``journal_unreachable``.
        Unavailable: ``journal_locked``, ``journal_readonly`` or ``disk_full``.
    """
    path = Path(path)
    with only_process(path), EndMark(path) as mark:
        ballast = Ballast(path, ballast_bytes)
        async with open_asyncio_thread("journal") as thread:
            reached = await _examined(thread, path, ballast)
            async with _connected(thread, path, writer=True) as writer:
                await _translating(thread, partial(_remember, writer, reached))
                ballast.fill()
                async with _connected(thread, path, writer=False) as reader:
                    journal = SqliteJournal(thread, writer, reader, ballast, mark=mark, reached=reached)
                    if reached.position and read_mark(path) == Reached():
                        # Its owner goes on from what there is. Who must not sign twice has to know, also after a kill.
                        note = NewEntry(stream=OLD_COPY, kind="no_end_mark", at_ms=time.time_ns() // 10**6, body=b"")
                        await journal.append([note], urgent=True)
                    else:
                        mark.write(reached)
                    yield journal


async def _examined(thread: AsyncioThread, path: Path, ballast: Ballast) -> Reached:
    """Check the journal, and bring its schema up to date. On a full disk the room kept back is used for it."""
    examined = await trio.to_thread.run_sync(examine, path)

    async def upgraded() -> None:
        async with _connected(thread, path, writer=True) as writer:
            await _translating(thread, partial(migrate, writer, examined.version))

    try:
        await upgraded()
    except Unavailable as error:
        if error.code != "disk_full" or not ballast.release():
            raise
        await upgraded()
    return examined.reached


async def _remember(writer: aiosqlite.Connection, reached: Reached) -> None:
    """Note how far the chain was checked: the next start of a long journal goes on from there."""
    if reached.position:
        with suppress(sqlite3.OperationalError):  # A node must come up on a full disk, too.
            await writer.execute_fetchall(
                "insert or replace into checked values (1, ?, ?)", (reached.position, reached.hash)
            )


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
    writer: aiosqlite.Connection, rows: Sequence[Row], values: Sequence[tuple[str, bytes, bytes]], puts: int
) -> None:
    await writer.execute_fetchall("begin immediate")
    try:
        if rows:
            await writer.executemany("insert into entry values (?, ?, ?, ?, ?, ?)", rows)
        if values:
            await writer.executemany("insert or replace into value values (?, ?, ?)", values)
        if puts:
            await writer.execute_fetchall("update tally set puts = puts + ?", (puts,))
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
        raise translated(error) from error


def _entries(rows: Iterable[tuple[Any, ...]]) -> list[JournalEntry]:
    """Rows as entries, each checked once more: a disk may turn a bit while we run."""
    found = []
    for row in rows:
        entry = entry_of(row)
        if chain_hash(GENESIS if row[0] == 1 else row[6] or b"", entry) != row[5]:
            raise damaged(f"entry {entry.position} was changed")
        found.append(entry)
    return found


def _unsealed(key: str, value: bytes, sealed: bytes) -> bytes:
    if seal(key, value) != sealed:
        raise damaged(f"the value of {key!r} was changed")
    return bytes(value)
