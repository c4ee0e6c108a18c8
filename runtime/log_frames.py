"""Take an engine's multiplexed output apart and find the place where reading stopped. Pure.

An engine sends each piece of a job's output as a frame: one byte that says which stream, a length, then the bytes; in
its log they are preceded by the time of writing and a blank. The streams of a running job (:class:`OutputReader`) and
the log kept of them (:class:`LogReader`) are cut differently, but the bytes of each stream are the same in both. So a
position is how many bytes of each stream were taken, counted from the log's first entry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec import Struct

_HEADER = struct.Struct(">BxxxL")
TIME_LENGTH = 30
"""``2025-01-02T03:04:05.123456789Z``: fixed width and UTC, so that comparing bytes compares times."""
MAX_FRAME = 4 * 1024 * 1024
STDOUT, STDERR = 1, 2
MAX_HELD = 64 * 1024


class LogPosition(Struct, frozen=True, kw_only=True):
    """Up to where a job's output was read."""

    first: bytes = b""
    """The time of the entry that the counting began with; empty while none was seen. Another first entry means that
    the engine has deleted the beginning of its log."""
    stdout: int = 0
    stderr: int = 0
    seen: bytes = b""
    """When the newest of it was read, or was written to the log."""


class _Frames:
    """Cuts a stream of bytes into frames, however it arrives."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        data = self._pending + data if self._pending else data
        at, end = 0, len(data)
        while end - at >= 8:
            stream, length = _HEADER.unpack_from(data, at)
            if stream not in (STDOUT, STDERR) or length > MAX_FRAME:
                raise ValueError("not multiplexed output")
            start, after = at + 8, at + 8 + length
            if after > end:
                break
            at = after
            yield stream, data[start:after]
        self._pending = data[at:]


class OutputReader:
    """Counts what a job's own streams give, from their beginning, and keeps their lines whole.

    The streams come through two pipes: between a word and its line's end, written at once one after the other, the
    other stream may speak. What it says is held until the line ends or :meth:`release` is called.
    """

    def __init__(self, position: LogPosition) -> None:
        self._frames = _Frames()
        self._taken = {STDOUT: position.stdout, STDERR: position.stderr}
        self.first = position.first
        """To be filled in by whoever learns it from the log."""
        self._seen = position.seen
        self._held = b""
        self._open = 0
        """The stream whose line the output given so far ends in the middle of."""
        self._holding = 0
        """The stream that what is held came from: the other one."""

    @property
    def position(self) -> LogPosition:
        """Where the output that was given ends; what is held is not in it."""
        return LogPosition(first=self.first, stdout=self._taken[STDOUT], stderr=self._taken[STDERR], seen=self._seen)

    @property
    def holds(self) -> bool:
        """Whether something waits for the other stream's line to end."""
        return bool(self._held)

    def feed(self, data: bytes, now: bytes) -> bytes:
        """The output in ``data``, which arrived at the time ``now``.

        Raises:
            ValueError: this is not multiplexed output.
        """
        pieces = []
        for stream, piece in self._frames.feed(data):
            self._seen = now
            if self._open not in (0, stream):
                self._held += piece
                if len(self._held) > MAX_HELD:
                    pieces.append(self.release())
            elif piece:
                pieces.append(self._give(stream, piece))
                if not self._open:
                    pieces.append(self.release())
        return b"".join(pieces)

    def release(self) -> bytes:
        """Give what is held, even into the middle of a line."""
        if not self._held:
            return b""
        held, self._held = self._held, b""
        return self._give(self._holding, held)

    def _give(self, stream: int, piece: bytes) -> bytes:
        self._taken[stream] += len(piece)
        self._open = 0 if piece.endswith((b"\n", b"\r")) else stream
        self._holding = STDOUT + STDERR - stream
        return piece


class Gap(Struct, frozen=True):
    """The engine had deleted the beginning of its log. ``stopped`` and ``oldest``: when the output was read up to
    before, and when the oldest that is left was written. How much lay in between, no engine tells."""

    stopped: bytes
    oldest: bytes

    def sentence(self) -> str:
        """What a reader of the log must know at this place."""
        stopped, oldest = self.stopped.decode("ascii"), self.oldest.decode("ascii")
        if self.oldest > self.stopped:
            return f"what was printed from {stopped} to {oldest} is missing: the engine deleted it before it was copied"
        # The two clocks are read at different ends of a pipe: around that moment they do not say what came first.
        return f"output printed about {stopped} may be missing or repeated: the engine deleted the log before it"


class LogReader:
    """Gives the output that follows a position, from an engine's whole log with times."""

    def __init__(self, position: LogPosition) -> None:
        self._frames = _Frames()
        self._first = position.first
        self._taken = {STDOUT: position.stdout, STDERR: position.stderr}
        self._skip = dict(self._taken)
        self._seen = position.seen
        self._drop_until = b""
        self._begun = False
        self.gap: Gap | None = None
        """Set by the first entry when the log no longer begins where the position was counted from."""

    @property
    def position(self) -> LogPosition:
        return LogPosition(first=self._first, stdout=self._taken[STDOUT], stderr=self._taken[STDERR], seen=self._seen)

    def feed(self, data: bytes) -> bytes:
        """The new output in ``data``, the next piece of the engine's answer, in the engine's order.

        Raises:
            ValueError: this is not a multiplexed log.
        """
        return b"".join(
            self._new(stream, entry[:TIME_LENGTH], entry[TIME_LENGTH + 1 :])
            for stream, entry in self._frames.feed(data)
        )

    def _new(self, stream: int, written: bytes, piece: bytes) -> bytes:
        if not self._begun:
            self._begin(written)
        skipped = min(self._skip[stream], len(piece))
        self._skip[stream] -= skipped
        piece = piece[skipped:]
        self._taken[stream] += len(piece)
        if written <= self._drop_until:
            return b""
        self._seen = max(self._seen, written)
        return piece

    def _begin(self, written: bytes) -> None:
        self._begun = True
        if self._first and self._first != written:
            self.gap = Gap(self._seen, written)
            # The counts mean nothing any more: from here on the times must do.
            self._taken, self._skip = {STDOUT: 0, STDERR: 0}, {STDOUT: 0, STDERR: 0}
            self._drop_until = self._seen
        self._first = written


def first_entry_time(data: bytes) -> bytes:
    """The time of the first entry of a log that begins with ``data``; empty when there is not that much of it."""
    return data[8 : 8 + TIME_LENGTH] if len(data) >= 8 + TIME_LENGTH else b""
