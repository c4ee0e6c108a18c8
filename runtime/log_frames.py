"""Take an engine's multiplexed log apart and find the place where reading stopped. Pure.

The engine sends each entry of a job's output as a frame: one byte that says which stream, a length, then the time it
was written and a blank, then the bytes. Entries have no number. What identifies one is its stream, its time to the
nanosecond, and how many entries of that stream at that very time came before it (the pieces of a long line share one
time). Within a stream the times never fall, so a position is one such mark per stream.
"""

from __future__ import annotations

import calendar
import struct
import time
from collections.abc import Iterator

from msgspec import Struct

_HEADER = struct.Struct(">BxxxL")
TIME_LENGTH = 30
"""``2025-01-02T03:04:05.123456789Z``: fixed width and UTC, so that comparing bytes compares times."""
MAX_FRAME = 4 * 1024 * 1024
STDOUT, STDERR = 1, 2


class Mark(Struct, frozen=True):
    """The last entry taken from a stream: its time, and how many entries with that time were taken."""

    time: bytes = b""
    count: int = 0


class LogPosition(Struct, frozen=True, kw_only=True):
    """Up to where a job's output was read."""

    stdout: Mark = Mark()
    stderr: Mark = Mark()

    def since(self) -> int:
        """A UTC second to ask the engine from, early enough that the last entry taken is given again."""
        newest = max(self.stdout.time, self.stderr.time)
        if not newest:
            return 0
        return calendar.timegm(time.strptime(newest[:19].decode("ascii"), "%Y-%m-%dT%H:%M:%S")) - 2


class LogReader:
    """Gives the output that follows a position, from an engine's answer that may begin before it."""

    def __init__(self, position: LogPosition) -> None:
        self._pending = b""
        self._marks = {STDOUT: position.stdout, STDERR: position.stderr}
        self._goal = dict(self._marks)
        self._again: dict[int, Mark] = {STDOUT: Mark(), STDERR: Mark()}
        self._anchor = max(position.stdout.time, position.stderr.time)
        self._met_anchor = not self._anchor
        self.gap = False
        """Whether entries between the position and the first new one had already been deleted by the engine."""

    @property
    def position(self) -> LogPosition:
        return LogPosition(stdout=self._marks[STDOUT], stderr=self._marks[STDERR])

    def feed(self, data: bytes) -> bytes:
        """The new output in ``data``, the next piece of the engine's answer, in the engine's order.

        Raises:
            ValueError: this is not a multiplexed log.
        """
        return b"".join(self._new_entries(self._pending + data if self._pending else data))

    def _new_entries(self, data: bytes) -> Iterator[bytes]:
        at, end = 0, len(data)
        while end - at >= 8:
            stream, length = _HEADER.unpack_from(data, at)
            if stream not in self._marks or length > MAX_FRAME:
                raise ValueError("not a multiplexed log")
            start, after = at + 8, at + 8 + length
            if after > end:
                break
            at = after
            if self._is_new(stream, data[start : start + TIME_LENGTH]):
                yield data[start + TIME_LENGTH + 1 : after]
        self._pending = data[at:]

    def _is_new(self, stream: int, written: bytes) -> bool:
        goal = self._goal[stream]
        if written <= goal.time:
            self._met_anchor = self._met_anchor or written == self._anchor
            if written < goal.time:
                return False
            self._again[stream] = Mark(written, self._again[stream].count + 1)
            if self._again[stream].count <= goal.count:
                return False
        if not self._met_anchor:
            self.gap, self._met_anchor = True, True
        last = self._marks[stream]
        self._marks[stream] = Mark(written, last.count + 1 if last.time == written else 1)
        return True
