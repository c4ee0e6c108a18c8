"""A journal and a chain view whose process may die at any boundary: before and after each append and each send."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.ports import JournalEntry, NewEntry, Transaction
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_chain_view import Effect, MemoryChainView
from tests.fakes.memory_journal import MemoryJournal


class Killed(Exception):
    """The process died here: nothing after this line has happened."""


class Fate:
    """``left`` boundaries more are survived; None for ever."""

    def __init__(self) -> None:
        self.left: int | None = None

    def step(self) -> None:
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            raise Killed


class MortalJournal(MemoryJournal):
    """A journal that is the last thing some processes ever see."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    async def append(
        self, entries: Sequence[NewEntry], put: dict[str, bytes] | None = None, *, urgent: bool = False
    ) -> list[JournalEntry]:
        self._fate.step()
        written = await super().append(entries, put, urgent=urgent)
        self._fate.step()
        return written

    def backup(self) -> MortalJournal:
        """A copy as of now."""
        other = MortalJournal(self._fate)
        other._entries, other._values = list(self._entries), dict(self._values)
        return other


class MortalView(MemoryChainView):
    """A view that dies with its process."""

    def __init__(self, world: MemoryChain, account: bytes, confirmations: int, fate: Fate) -> None:
        super().__init__(world, account, confirmations)
        self._fate = fate

    async def _send(self, gas: int, effect: Effect) -> Transaction:
        self._fate.step()
        return await super()._send(gas, effect)

    async def _confirmed(self, hash: bytes) -> Transaction:
        self._fate.step()
        mined = await super()._confirmed(hash)
        self._fate.step()
        return mined


class ForkingChain(MemoryChain):
    """A chain on which a transaction may be gone for good after a reorganisation."""

    def fork(self, depth: int, without: bytes = b"") -> None:
        """Throw ``depth`` blocks away, and of their transactions those of ``without`` for ever."""
        waiting = [pending for _, pending in self._pending]
        self.reorg(min(depth, self.head_number()))
        self._pending = [
            (number, pending)
            for number, pending in self._pending
            if pending.sender != without or any(pending is one for one in waiting)
        ]

    def total(self, *kinds: str) -> int:
        """What the events of these kinds moved, over all time."""
        moved = {"Deposited": ("amount",), "Redeemed": ("paid",), "LaneClosed": ("toProvider", "toPayer")}
        events = self.state_at(self.head_number()).events
        return sum(int(str(e.arguments[name])) for e in events if e.kind in kinds for name in moved[e.kind])
