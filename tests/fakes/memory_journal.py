"""A journal in memory with the one property that matters: what ``append`` returned from survives a crash.

It starts no thread, so that it can run under a virtual clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from ledger.ports import JournalEntry, NewEntry
from market.errors import BrokenInvariant, Unavailable


class MemoryJournal:
    """Runs the same suite as the real journal (``tests/ports/test_journal.py``)."""

    def __init__(self) -> None:
        self._entries: list[JournalEntry] = []
        self._values: dict[str, bytes] = {}
        self._in_flight: list[tuple[Sequence[NewEntry], dict[str, bytes] | None]] = []
        self._crashed = False
        self.full = False
        """While set the disk is full: every append that is not urgent is refused."""

    async def append(
        self, entries: Sequence[NewEntry], put: dict[str, bytes] | None = None, *, urgent: bool = False
    ) -> list[JournalEntry]:
        self._check_alive()
        batch = (tuple(entries), put)
        self._in_flight.append(batch)
        try:
            await trio.lowlevel.checkpoint()
            self._check_alive()
        finally:
            if batch in self._in_flight:
                self._in_flight.remove(batch)
        if self.full and not urgent:
            raise Unavailable("the disk is full", code="disk_full")
        return self._commit(*batch)

    async def read(self, stream: str) -> list[JournalEntry]:
        await self._read_checkpoint()
        return [entry for entry in self._entries if entry.stream == stream]

    async def read_all(self, *, prefix: str = "", after: int = 0, limit: int = 10_000) -> list[JournalEntry]:
        await self._read_checkpoint()
        newer = self._entries[max(after, 0) :]
        return [entry for entry in newer if entry.stream.startswith(prefix)][:limit]

    async def streams(self, prefix: str) -> list[str]:
        await self._read_checkpoint()
        return list(dict.fromkeys(entry.stream for entry in self._entries if entry.stream.startswith(prefix)))

    async def get(self, key: str) -> bytes | None:
        await self._read_checkpoint()
        return self._values.get(key)

    async def get_all(self, prefix: str) -> dict[str, bytes]:
        await self._read_checkpoint()
        return {key: value for key, value in sorted(self._values.items()) if key.startswith(prefix)}

    def crash(self, *, keep_in_flight: bool = False) -> MemoryJournal:
        """The journal as the next process finds it. This object is dead from now on: its users get an error.

        Args:
            keep_in_flight: the other legal outcome, that appends not yet returned from had reached the disk.
        """
        survivor = MemoryJournal()
        survivor._entries = list(self._entries)
        survivor._values = dict(self._values)
        if keep_in_flight:
            for batch in self._in_flight:
                survivor._commit(*batch)
        self._crashed = True
        return survivor

    def _commit(self, entries: Sequence[NewEntry], put: dict[str, bytes] | None) -> list[JournalEntry]:
        start = len(self._entries) + 1
        written = [
            JournalEntry(position=start + i, stream=e.stream, kind=e.kind, at_ms=e.at_ms, body=bytes(e.body))
            for i, e in enumerate(entries)
        ]
        self._entries.extend(written)
        self._values.update(put or {})
        return written

    async def _read_checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check_alive()

    def _check_alive(self) -> None:
        if self._crashed:
            raise BrokenInvariant("this journal has crashed; its process is dead", code="crashed")
