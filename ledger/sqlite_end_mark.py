"""A note beside the journal of how far it had come: without it, acknowledged facts could vanish unseen.

SQLite ends its write-ahead log at the first frame whose checksum is wrong. That is right for a frame torn by a power
cut, and wrong for an acknowledged one in which the disk turned a bit: it would be dropped like the torn one. The mark
is written after a commit was synced and is itself never synced: so it may lag behind the journal, never run ahead.
A journal that ends before its mark has lost something, or is an old copy.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from ledger.sqlite_errors import damaged

_BODY = 48
_SLOT = 64
_NOTHING = bytes(_SLOT)


class Reached(Struct, frozen=True, order=True):
    """How far a journal has come: its last position, how many transactions only put values, the last entry's hash."""

    position: int = 0
    puts: int = 0
    hash: bytes = bytes(32)


class EndMark:
    """The open mark. Two slots are written in turn, so that one torn write leaves the other."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(mark_path(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._next = 0

    def write(self, reached: Reached) -> None:
        """Move the mark. One that cannot be moved stays behind, which is safe."""
        body = reached.position.to_bytes(8, "big") + reached.puts.to_bytes(8, "big") + reached.hash
        with suppress(OSError):
            os.pwrite(self._handle, body + _check(body), self._next * _SLOT)
        self._next ^= 1

    def __enter__(self) -> EndMark:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._handle)


def mark_path(journal: Path) -> Path:
    """Where the mark of a journal lies."""
    return journal.with_name(journal.name + ".end")


def read_mark(journal: Path) -> Reached:
    """How far the journal had come at least; nothing for a journal that has no mark.

    Raises:
        InvalidRequest: ``journal_damaged``: there is a mark, and neither slot of it can be read.
    """
    try:
        raw = mark_path(journal).read_bytes()[: 2 * _SLOT]
    except FileNotFoundError:
        return Reached()
    slots = [raw[start : start + _SLOT] for start in (0, _SLOT)]
    whole = [slot for slot in slots if len(slot) == _SLOT and slot[_BODY:] == _check(slot[:_BODY])]
    if whole:
        return max(Reached(*_numbers(slot), slot[16:_BODY]) for slot in whole)
    # A file that a power cut left empty or full of zeros tells nothing; anything else was a mark once.
    if any(slot.strip(b"\0") for slot in slots):
        raise damaged(f"{mark_path(journal).name} is not what was written")
    return Reached()


def _numbers(slot: bytes) -> tuple[int, int]:
    return int.from_bytes(slot[:8], "big"), int.from_bytes(slot[8:16], "big")


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"end mark" + body).digest()[: _SLOT - _BODY]
