"""Which lanes their owner filled by hand: those stay as they are, also when no job uses them, until the owner lets go.

Read before anything looks after lanes: a start must not send home what was put there for jobs to come.
"""

from __future__ import annotations

from collections.abc import Callable

from ledger.ports import Journal, NewEntry
from ledger.voucher import Domain

_STREAM = "wallet/kept"


class KeptLanes:
    """The payees of such lanes, of one escrow.

    Attributes:
        payees: their accounts, as they stand now; the same set for its whole life.
    """

    def __init__(self, journal: Journal, domain: Domain, now_ms: Callable[[], int]) -> None:
        self.payees: set[bytes] = set()
        self._journal = journal
        self._prefix = f"{_STREAM}/{domain.chain_id}-{domain.escrow.hex()}/"
        self._now_ms = now_ms

    async def load(self) -> None:
        """Read them as the last run left them. Safe to repeat."""
        found = await self._journal.get_all(self._prefix)
        self.payees.clear()
        self.payees |= {bytes.fromhex(key.removeprefix(self._prefix)) for key, value in found.items() if value}

    async def keep(self, payee: bytes) -> None:
        """From now on this lane stays as it is. On disk when this returns."""
        if payee not in self.payees:
            await self._write("Kept", payee, b"1")
            self.payees.add(payee)

    async def let_go(self, payee: bytes) -> None:
        """From now on this lane is emptied like others."""
        if payee in self.payees:
            await self._write("LetGo", payee, b"")
            self.payees.discard(payee)

    async def _write(self, kind: str, payee: bytes, value: bytes) -> None:
        entry = NewEntry(stream=_STREAM, kind=kind, at_ms=self._now_ms(), body=payee)
        await self._journal.append([entry], {self._prefix + payee.hex(): value})
