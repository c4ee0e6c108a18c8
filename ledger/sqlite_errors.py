"""What SQLite's errors mean for the node: who must act, and how."""

from __future__ import annotations

import sqlite3

from market.errors import BrokenInvariant, FabricError, InvalidRequest, Unavailable

LOST_SYNC = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
_LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DENIED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
_OURS = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_ERROR)


def translated(error: sqlite3.Error) -> FabricError:
    """The error to raise instead of SQLite's."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _DAMAGE:
        return damaged(str(error))
    if code == sqlite3.SQLITE_FULL:
        return disk_full()
    if code in _LOCKED:
        return Unavailable(
            "another program holds the journal's database",
            code="journal_locked",
            fix="end what looks at it or copies it (a database browser, a backup)",
        )
    if code in _DENIED:
        return Unavailable(
            f"the journal may not be written: {error}",
            code="journal_readonly",
            fix="check the data directory's permissions, and that its file system is not mounted read-only",
        )
    if code in _OURS:
        return BrokenInvariant(f"the journal refused an entry: {error}", code="journal_refused")
    return Unavailable(f"the journal cannot be written: {error}", code="journal_failed")


def disk_full() -> Unavailable:
    """Nothing was written; only vouchers in hand still get the room kept back for them."""
    return Unavailable("the disk is full: the journal cannot be written", code="disk_full", fix="make room on the disk")


def damaged(detail: str) -> InvalidRequest:
    """What is in the file is not what was written."""
    return InvalidRequest(
        f"the journal cannot be trusted: {detail}",
        code="journal_damaged",
        fix="move the journal and the files beside it away, keep them, and restore a backup",
    )


def rolled_back(position: int, reached: int, mark: str) -> InvalidRequest:
    """The journal ends before what was acknowledged: vouchers may be missing."""
    return InvalidRequest(
        f"the journal ends at entry {position}, it had reached {reached}: its log is damaged, or this is an old copy",
        code="journal_rolled_back",
        fix=f"put the newest copy back with the files beside it; to go on without what came after, delete {mark}",
    )
