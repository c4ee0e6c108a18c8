"""Appends that wait for the disk, written together: while one commit is synced, all that came meanwhile share the next.

On a busy node a commit costs many times what its rows do; alone behind one another, leases would wait for each other's
disk. Whoever finds nobody writing writes for all that wait, and hands over to the first who came after.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from ledger.ports import JournalEntry, NewEntry
from ledger.sqlite_end_mark import Reached
from ledger.sqlite_schema import chain_hash
from market.errors import BrokenInvariant

MAX_TOGETHER = 64
"""Calls in one transaction: nobody waits for more than these, however many come."""
Row = tuple[int, str, str, int, bytes, bytes]


class Append:
    """One call of ``Journal.append`` on its way.

    Attributes:
        written: its entries, once they have their place in the chain.
        error: why nothing of it was written.
    """

    def __init__(self, entries: Sequence[NewEntry], put: dict[str, bytes], urgent: bool) -> None:
        self.entries = tuple(entries)
        self.put = put
        self.urgent = urgent
        self.turn = trio.Event()
        self.settled = False
        self.written: list[JournalEntry] = []
        self.error: BaseException | None = None

    def chain(self, reached: Reached, rows: list[Row]) -> Reached:
        """Add the entries' rows behind ``reached``, and return how far that leads."""
        position, chained = reached.position, reached.hash
        self.written = []
        for new in self.entries:
            position += 1
            entry = JournalEntry(
                position=position, stream=new.stream, kind=new.kind, at_ms=new.at_ms, body=bytes(new.body)
            )
            chained = chain_hash(chained, entry)
            self.written.append(entry)
            rows.append((position, entry.stream, entry.kind, entry.at_ms, entry.body, chained))
        alone = not self.entries and bool(self.put)
        return Reached(position, reached.puts + alone, chained)


class AppendQueue:
    """Lets calls through in the order in which they came.

    Args:
        commit: writes a batch, or raises for all of it; errors of single calls go into their ``error``.
    """

    def __init__(self, commit: Callable[[list[Append]], Awaitable[None]]) -> None:
        self._commit = commit
        self._waiting: list[Append] = []
        self._writing = False

    async def through(self, append: Append) -> list[JournalEntry]:
        """Wait until the call is durable. Not cancelled on the way: its outcome must be known.

        Raises:
            FabricError: nothing of it was written.
        """
        self._waiting.append(append)
        with trio.CancelScope(shield=True):
            if self._writing:
                await append.turn.wait()
            if not append.settled:
                await self._lead()
        if append.error is not None:
            raise append.error
        return append.written

    async def _lead(self) -> None:
        """Write for everybody who waits, then let the next one lead."""
        self._writing = True
        batch = self._waiting[:MAX_TOGETHER]
        del self._waiting[: len(batch)]
        failure: BaseException | None = BrokenInvariant("the journal's writer was ended", code="journal_failed")
        try:
            await self._commit(batch)
            failure = None
        except Exception as error:  # noqa: BLE001 - it is raised again by every call of the batch
            failure = error
        finally:
            for one in batch:
                one.settled, one.error = True, one.error or failure
                one.turn.set()
            if self._waiting:
                self._waiting[0].turn.set()
            else:
                self._writing = False
