"""SQLite's errors in our words."""

from __future__ import annotations

import sqlite3

import pytest

from ledger.sqlite_errors import translated
from market.errors import BrokenInvariant, InvalidRequest, Unavailable


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (sqlite3.SQLITE_CORRUPT, InvalidRequest, "journal_damaged"),
        (sqlite3.SQLITE_NOTADB, InvalidRequest, "journal_damaged"),
        (sqlite3.SQLITE_FULL, Unavailable, "disk_full"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, Unavailable, "journal_locked"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, Unavailable, "journal_readonly"),
        (sqlite3.SQLITE_CANTOPEN, Unavailable, "journal_readonly"),
        (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, BrokenInvariant, "journal_refused"),
        (sqlite3.SQLITE_IOERR_WRITE, Unavailable, "journal_failed"),
    ],
)
def test_each_error_says_who_must_act(number: int, kind: type[Exception], code: str) -> None:
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = number
    found = translated(error)
    assert isinstance(found, kind)
    assert found.code == code
    assert found.fix or kind is BrokenInvariant or code == "journal_failed"


def test_an_error_without_a_number_is_not_swallowed() -> None:
    assert translated(sqlite3.ProgrammingError("closed")).code == "journal_failed"
