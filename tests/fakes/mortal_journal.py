"""A journal whose process dies at a chosen write: before the disk has it, or after, with the answer lost."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.ports import JournalEntry, NewEntry
from market.errors import BrokenInvariant
from tests.fakes.memory_journal import MemoryJournal


class MortalJournal(MemoryJournal):
    """Goes on from what ``before`` has kept.

    Args:
        writes: how many succeed; at the next one the process dies.
        kept: whether that one had reached the disk.
    """

    def __init__(self, before: MemoryJournal, writes: int, *, kept: bool) -> None:
        super().__init__()
        self._entries, self._values = list(before._entries), dict(before._values)
        self.writes = writes
        self.kept = kept

    @property
    def died(self) -> bool:
        return self._crashed

    async def append(
        self, entries: Sequence[NewEntry], put: dict[str, bytes] | None = None, *, urgent: bool = False
    ) -> list[JournalEntry]:
        self._check_alive()
        if self.writes:
            self.writes -= 1
            return await super().append(entries, put, urgent=urgent)
        if self.kept:
            self._commit(entries, put)
        self._crashed = True
        raise BrokenInvariant("the process died at this write", code="crashed")
