"""A payer whose keys lie on a machine that is online: it has a limit per day, and its owner can top its lanes up.

The session key gives money away by signing vouchers. The limit is on what it signs in one day of UTC, over all lanes,
and is asked before every signature. A lease is only begun if its whole cap still fits beside what other open leases may
cost, so that a job which was begun is never cut off by the limit. What is counted is on disk before the voucher is
signed: a crash in between counts it, never the other way round.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import trio
from msgspec import Struct

from ledger.payer import Payer
from ledger.ports import Chain, Journal, NewEntry, Transaction
from ledger.voucher import Voucher
from market.codec import pack_record, unpack_record
from market.errors import InvalidRequest
from market.money import MAX_AMOUNT, format_tokens

DAY_MS = 86_400_000


class SpendingCounted(Struct, frozen=True, kw_only=True):
    """Before a voucher is signed: ``vouched`` in all on ``day`` (days of UTC since 1970), with this lease at
    ``amount``."""

    day: int
    vouched: int
    lease_id: bytes
    amount: int


class HotPayer(Payer):
    """A :class:`Payer` with an owner.

    Args:
        limit: token units that may be vouched for per day; 0 for no limit.
    """

    def __init__(self, chain: Chain, journal: Journal, *arguments: Any, limit: int = 0, **named: Any) -> None:
        super().__init__(chain, journal, *arguments, **named)
        self.limit = limit
        self._journal = journal
        self._clock_ms = self._lanes._now_ms
        self._top_up = self._chain
        self._stream = f"spending/{chain.chain_id}-{chain.escrow.hex()}/{self._key.address.hex()}"
        self._counting = trio.StrictFIFOLock()
        self._counted: SpendingCounted | None = None

    def top_up_through(self, chain: Chain) -> None:
        """Let deposits by hand see another chain, such as one that signs permits."""
        self._top_up = copy(self._chain)
        self._top_up._chain = chain

    async def load(self) -> None:
        """Read the books as the last run left them. Before anything else, and safe to repeat."""
        await super().load()
        raw = await self._journal.get(self._stream)
        self._counted = unpack_record(raw, SpendingCounted) if raw is not None else None

    async def reserve(self, lease_id: bytes, payee: bytes, cap: int) -> None:
        """As :meth:`Payer.reserve`.

        Raises:
            InvalidRequest: also ``spending_limit``: the lease could take more than today's limit leaves.
        """
        async with self._counting:
            if self.limit and self._lanes.lane_of(lease_id) is None and cap > self.left_today():
                raise self._over_limit(cap)
            await super().reserve(lease_id, payee, cap)

    async def acknowledge(self, lease_id: bytes, amount: int) -> Voucher:
        """As :meth:`Payer.acknowledge`.

        Raises:
            InvalidRequest: also ``spending_limit``; nothing was signed.
        """
        if self.limit:
            async with self._counting:
                await self._count(lease_id, amount)
        return await super().acknowledge(lease_id, amount)

    def vouched_today(self) -> int:
        """What was vouched for since midnight UTC."""
        newest = self._counted
        return newest.vouched if newest is not None and newest.day == self._today() else 0

    def left_today(self) -> int:
        """What a new lease may cost at most; without a limit, more than there is."""
        if not self.limit:
            return MAX_AMOUNT
        open_leases = [one for lane in self._lanes.lanes() for one in self._lanes.books(lane).leases]
        return max(0, self.limit - self.vouched_today() - sum(one.cap - one.amount for one in open_leases))

    async def top_up(self, payee: bytes, amount: int) -> Transaction:
        """Deposit into the lane to ``payee`` without a lease, as its owner wishes. Stops a running exit of ours.

        Raises:
            InvalidRequest: the wallet is short of tokens or gas; nothing was sent.
            Unavailable: the chain does not answer, or an earlier deposit may still be on its way
                (``deposit_pending``).
        """
        lane = self.lane(payee)
        async with self._lanes.locks(lane).chain:
            await self._top_up.settle_deposit(lane)
            if (await self._top_up.observe(lane)).exit_at:
                await self._top_up.cancel_exit(lane)
            return await self._top_up.deposit(lane, amount)

    async def _count(self, lease_id: bytes, amount: int) -> None:
        lane = self._lanes.lane_of(lease_id)
        account = self._lanes.books(lane).lease(lease_id) if lane is not None else None
        newest = self._counted
        if account is None or not account.amount < amount <= account.cap:
            return  # nothing new will be signed
        if newest is not None and (newest.lease_id, newest.amount) == (lease_id, amount):
            return  # counted before a crash, and not signed yet
        vouched = self.vouched_today() + amount - account.amount
        if vouched > self.limit:
            raise self._over_limit(amount - account.amount)
        counted = SpendingCounted(day=self._today(), vouched=vouched, lease_id=lease_id, amount=amount)
        raw = pack_record(counted)
        entry = NewEntry(stream=self._stream, kind="SpendingCounted", at_ms=self._clock_ms(), body=raw)
        await self._journal.append([entry], {self._stream: raw}, urgent=True)
        self._counted = counted

    def _today(self) -> int:
        return self._clock_ms() // DAY_MS

    def _over_limit(self, wanted: int) -> InvalidRequest:
        left, limit = format_tokens(self.left_today()), format_tokens(self.limit)
        return InvalidRequest(
            f"{format_tokens(wanted)} tokens are more than today's limit leaves ({left} of {limit})",
            code="spending_limit",
            fix="wait until midnight UTC, let running jobs end, or raise daily_limit under [wallet]",
        )
