"""A job's output on this node's disk: bytes at stable offsets, whatever happens to the node in between.

Two files. ``log`` holds the output and nothing else; ``log.position`` says how many of its bytes count and where in
the job's streams they end. Data is written first, the position second, in one small write each. Killed between the
two, the bytes beyond the position are dropped and read again from the engine, which gives the same bytes in the same
order: no gap, no repeat, and an offset once given to somebody stays true.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from msgspec import Struct

from runtime.log_frames import LogPosition

DEFAULT_CAP = 64 * 1024 * 1024
_POSITION = struct.Struct(">4sQBB30s30sQQ")
_MAGIC = b"LOG2"
_MIB = 1024 * 1024


class SpoolState(Struct, frozen=True, kw_only=True):
    """What counts in a spool. ``complete``: the job has exited and all its output is here (or was cut at the cap)."""

    size: int = 0
    complete: bool = False
    truncated: bool = False
    position: LogPosition = LogPosition()


def read_state(log: Path) -> SpoolState:
    """The state of the spool at ``log``; an empty one when there is none."""
    try:
        raw = _position_path(log).read_bytes()
        magic, size, complete, truncated, first, seen, stdout, stderr = _POSITION.unpack(raw)
    except (OSError, struct.error):
        return SpoolState()
    if magic != _MAGIC:
        return SpoolState()
    position = LogPosition(first=first.rstrip(b"\0"), seen=seen.rstrip(b"\0"), stdout=stdout, stderr=stderr)
    return SpoolState(size=size, complete=bool(complete), truncated=bool(truncated), position=position)


def read_bytes(log: Path, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes at ``offset``; empty beyond the end and when nothing was ever written."""
    try:
        with open(log, "rb") as file:
            return os.pread(file.fileno(), length, offset)
    except FileNotFoundError:
        return b""


class LogSpool:
    """The writing end. One writer per spool; blocking, so it lives in a thread."""

    def __init__(self, log: Path, *, cap: int = DEFAULT_CAP) -> None:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cap = cap
        self.state = read_state(log)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._log = os.open(log, flags, 0o600)
        self._position = os.open(_position_path(log), flags, 0o600)
        os.ftruncate(self._log, self.state.size)

    def append(self, data: bytes, position: LogPosition) -> None:
        """Add output up to ``position``. Beyond the cap the output ends with a notice, and later data is ignored."""
        if self.state.truncated:
            return
        truncated = self.state.size + len(data) > self._cap
        if truncated:
            data = data[: max(0, self._cap - self.state.size)] + notice(over(self._cap))
        self._write(data, position=position, truncated=truncated, complete=False)

    def finish(self, last_words: bytes = b"") -> None:
        """Mark the output complete, after an optional notice about its end. Repeating it changes nothing."""
        if not self.state.complete:
            self._write(last_words, position=self.state.position, truncated=self.state.truncated, complete=True)

    def close(self) -> None:
        os.close(self._log)
        os.close(self._position)

    def _write(self, data: bytes, *, position: LogPosition, truncated: bool, complete: bool) -> None:
        at = self.state.size
        while data:
            written = os.pwrite(self._log, data, at)
            at, data = at + written, data[written:]
        self.state = SpoolState(size=at, complete=complete, truncated=truncated, position=position)
        record = _POSITION.pack(
            _MAGIC, at, complete, truncated, position.first, position.seen, position.stdout, position.stderr
        )
        os.pwrite(self._position, record, 0)


def notice(text: str) -> bytes:
    """A line of ours inside a job's output, recognisable as such."""
    return f"\n[cfab: {text}]\n".encode()


def over(cap: int) -> str:
    """What is said once where a log reached its cap of so many bytes."""
    return f"output above {cap // _MIB} MiB is dropped" if cap % _MIB == 0 else f"output above {cap} bytes is dropped"


def _position_path(log: Path) -> Path:
    return log.with_name(log.name + ".position")
