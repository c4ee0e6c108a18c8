"""Whether a journal is whole, found out without writing a byte to it: what is refused stays as it was, as evidence.

SQLite keeps no checksum of a page, so its own check finds a broken tree but not a changed amount. Ours follow: entries
are chained by hashes, values carry seals, and the mark beside the file says how far the journal had come.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import Struct

from ledger.ports import JournalEntry
from ledger.sqlite_end_mark import Reached, mark_path, read_mark
from ledger.sqlite_errors import damaged, rolled_back, translated
from ledger.sqlite_schema import (
    APPLICATION_ID,
    GENESIS,
    SEALED_SINCE,
    chain_hash,
    seal,
    step_script,
    steps,
)
from market.errors import InvalidRequest

FULL_CHECK_ROWS = 100_000
"""Up to so many rows the whole hash chain is checked at every start; beyond, only what came since the check before."""
_WORLDLY = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
    )
)
"""What is wrong with the world, not with the file. Anything else is damage: our own queries are known to be right."""

_TABLES = (
    "select m.name, p.name, p.type, p.pk from sqlite_schema as m join pragma_table_info(m.name) as p "
    "where m.type = 'table'"
)
_INDEXES = (
    "select m.name, m.tbl_name, p.seqno, p.name from sqlite_schema as m join pragma_index_info(m.name) as p "
    "where m.type = 'index'"
)


class Examined(Struct, frozen=True):
    """A journal that is whole: its schema, 0 for an empty file, and how far it has come."""

    version: int
    reached: Reached


def examine(path: Path) -> Examined:
    """Look at everything in the journal at ``path``, which another process may have open.

    Raises:
        InvalidRequest: ``journal_damaged``, ``journal_rolled_back``, ``journal_newer`` or ``not_a_journal``.
        Unavailable: the file cannot be read just now.
    """
    mark = read_mark(path)  # Before the journal: one that is in use grows meanwhile.
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as found:
            examined = _examined(found, mark)
    except UnicodeDecodeError:
        raise damaged("SQLite's own message about it holds bytes of it") from None
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise (translated(error) if code in _WORLDLY else damaged(str(error))) from None
    reached = examined.reached
    if reached.position < mark.position or reached.puts < mark.puts:
        raise rolled_back(reached.position, mark.position, mark_path(path).name)
    return examined


def _examined(found: sqlite3.Connection, mark: Reached) -> Examined:
    found.execute("begin")  # One view, whatever a running node writes meanwhile.
    version = _version(found)
    if not version:
        return Examined(0, Reached())
    if (told := _one(found, "pragma integrity_check(1)")) != "ok":
        raise damaged(f"its pages are damaged ({told})")
    if _layout(found) != _expected_layout(version):
        raise damaged("its tables are not those of a journal")
    position, chained = _follow_chain(found, mark)
    puts = 0
    if version >= SEALED_SINCE:
        _check_seals(found)
        puts = int(_one(found, "select puts from tally") or 0)
    return Examined(version, Reached(position, puts, chained))


def _version(found: sqlite3.Connection) -> int:
    if not _one(found, "select count(*) from sqlite_schema"):
        return 0
    if _one(found, "pragma application_id") != APPLICATION_ID:
        raise InvalidRequest("this database is not a journal", code="not_a_journal")
    try:
        version = int(_one(found, "select max(version) from schema_version"))
    except (sqlite3.OperationalError, TypeError):
        raise damaged("its schema version is missing") from None
    if version > len(steps()):
        raise InvalidRequest(
            f"this journal has schema {version}, this program knows up to {len(steps())}",
            code="journal_newer",
            fix="start the newer version of the program again",
        )
    return version


def _follow_chain(found: sqlite3.Connection, mark: Reached) -> tuple[int, bytes]:
    """Follow the hash chain to its end: last position and hash."""
    position, chained = 0, GENESIS
    anchor = found.execute("select position, hash from checked").fetchone()
    if anchor and anchor[0] > FULL_CHECK_ROWS:
        position, chained = anchor
        if _one(found, "select hash from entry where position = ?", position) != chained:
            raise damaged(f"entry {position} is not the one that was checked before")
    for row in found.execute(
        "select position, stream, kind, at_ms, body, hash from entry where position > ? order by position", (position,)
    ):
        if row[0] != position + 1 or row[5] != (chained := chain_hash(chained, entry_of(row))):
            raise damaged(f"entry {position + 1} is missing or was changed")
        position = row[0]
    if anchor and position < anchor[0]:
        raise damaged("entries are missing at its end")
    if 0 < mark.position <= position:
        at_mark = _one(found, "select hash from entry where position = ?", mark.position)
        if at_mark != mark.hash:
            raise damaged(f"entry {mark.position} is not the one that was written")
    return position, chained


def _check_seals(found: sqlite3.Connection) -> None:
    for key, value, sealed in found.execute("select key, value, seal from value"):
        if seal(key, value) != sealed:
            raise damaged(f"the value of {key!r} was changed")


def entry_of(row: tuple[Any, ...]) -> JournalEntry:
    """A row's first five columns as an entry."""
    return JournalEntry(position=row[0], stream=row[1], kind=row[2], at_ms=row[3], body=row[4])


@cache
def _expected_layout(version: int) -> frozenset[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as model:
        model.create_function("seal_of", 2, seal, deterministic=True)
        for number, script in enumerate(steps()[:version], 1):
            model.executescript(step_script(number, script))
        return _layout(model)


def _layout(found: sqlite3.Connection) -> frozenset[tuple[Any, ...]]:
    """Tables with their columns and indexes with theirs; not the words they were made with, which SQLite may change."""
    return frozenset([*found.execute(_TABLES), *found.execute(_INDEXES)])


def _one(found: sqlite3.Connection, sql: str, *parameters: object) -> Any:
    row = found.execute(sql, parameters).fetchone()
    return row[0] if row else None
