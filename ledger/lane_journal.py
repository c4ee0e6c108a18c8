"""The books of all lanes of one side, kept in memory and made durable before anyone acts on them.

Each fact is appended to its lane's stream, and in the same transaction the lane's new books are put into the value
table: so a restart costs one read per lane, while the stream stays as the audit trail from which the same books
follow (:func:`replay`). Nothing here decides anything about money; ``payer.py`` and ``payee.py`` do.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from msgspec import Struct

from ledger.lane import LaneBooks, apply
from ledger.lane_facts import FACTS, Amount, Fact, LaneOpened, LateVoucherTaken, LeaseClosed
from ledger.ports import Journal, LaneKey, NewEntry
from ledger.voucher import Domain
from market.codec import pack_record, unpack_record
from market.errors import BrokenInvariant


class ClosedLease(Struct, frozen=True, kw_only=True):
    """What is remembered of a lease that is over: enough to answer a repeated call, and to never open it again."""

    lane: LaneKey
    cap: Amount
    amount: Amount


class LaneLocks:
    """``books`` guards a decision and its append; ``chain`` serialises what is sent for the lane.

    They are two, so that a voucher never waits for a transaction.
    """

    def __init__(self) -> None:
        self.books = trio.StrictFIFOLock()
        self.chain = trio.StrictFIFOLock()


class LaneJournal:
    """All lanes of one side ("paying" or "paid") of one escrow."""

    def __init__(self, journal: Journal, side: str, domain: Domain, now_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._root = f"{side}/{domain.chain_id}-{domain.escrow.hex()}"
        self._now_ms = now_ms
        self._books: dict[LaneKey, LaneBooks] = {}
        self._lease_lanes: dict[bytes, LaneKey] = {}
        self._locks: dict[LaneKey, LaneLocks] = {}

    async def load(self) -> None:
        """Read the books as the last run left them. Safe to repeat."""
        found = await self._journal.get_all(f"{self._root}/lane/")
        books = [unpack_record(raw, LaneBooks) for raw in found.values()]
        self._books = {one.lane: one for one in books}
        self._lease_lanes = {account.lease_id: one.lane for one in books for account in one.leases}

    def lanes(self) -> list[LaneKey]:
        return sorted(self._books)

    def knows(self, lane: LaneKey) -> bool:
        return lane in self._books

    def books(self, lane: LaneKey) -> LaneBooks:
        """The lane's books; empty ones for a lane that has none yet."""
        return self._books.get(lane) or LaneBooks(lane=lane)

    def lane_of(self, lease_id: bytes) -> LaneKey | None:
        """The lane of an open lease."""
        return self._lease_lanes.get(lease_id)

    async def closed_lease(self, lease_id: bytes) -> ClosedLease | None:
        raw = await self._journal.get(self._lease_key(lease_id))
        return unpack_record(raw, ClosedLease) if raw is not None else None

    def locks(self, lane: LaneKey) -> LaneLocks:
        return self._locks.setdefault(lane, LaneLocks())

    async def record(self, lane: LaneKey, *facts: Fact, urgent: bool = False) -> LaneBooks:
        """Make the facts durable, all or none, and return the books they lead to.

        The caller holds the lane's ``books`` lock from its decision to here.

        Raises:
            BrokenInvariant: a fact cannot follow; nothing was written.
            Unavailable: the journal could not write; nothing changed.
        """
        before = self.books(lane)
        facts = facts if lane in self._books else (LaneOpened(lane=lane), *facts)
        after, put = before, {}
        for fact in facts:
            put.update(await self._lease_ended(after, fact))
            after = apply(after, fact)
        stream, at_ms = self._stream(lane), self._now_ms()
        entries = [
            NewEntry(stream=stream, kind=type(fact).__name__, at_ms=at_ms, body=pack_record(fact)) for fact in facts
        ]
        put[stream] = pack_record(after)
        await self._journal.append(entries, put, urgent=urgent)
        self._adopt(before, after)
        return after

    def _adopt(self, before: LaneBooks, after: LaneBooks) -> None:
        self._books[after.lane] = after
        for account in before.leases:
            self._lease_lanes.pop(account.lease_id, None)
        for account in after.leases:
            self._lease_lanes[account.lease_id] = after.lane

    async def _lease_ended(self, books: LaneBooks, fact: Fact) -> dict[str, bytes]:
        """What the value table must remember of a lease that ends, or that cost more after its end."""
        if isinstance(fact, LeaseClosed) and (account := books.lease(fact.lease_id)):
            ended = ClosedLease(lane=books.lane, cap=account.cap, amount=account.amount)
        elif isinstance(fact, LateVoucherTaken) and (known := await self.closed_lease(fact.lease_id)):
            ended = ClosedLease(lane=known.lane, cap=known.cap, amount=known.amount + fact.more)
        else:
            return {}
        return {self._lease_key(fact.lease_id): pack_record(ended)}

    def _stream(self, lane: LaneKey) -> str:
        return f"{self._root}/lane/{lane.payer.hex()}-{lane.payee.hex()}-{lane.signer.hex()}"

    def _lease_key(self, lease_id: bytes) -> str:
        return f"{self._root}/lease/{lease_id.hex()}"


async def replay(journal: Journal, stream: str) -> LaneBooks:
    """Rebuild a lane's books from nothing but its facts.

    Raises:
        BrokenInvariant: the stream does not begin with the opening of a lane, or holds an unknown fact.
    """
    books: LaneBooks | None = None
    after = 0
    while batch := await journal.read_all(prefix=stream, after=after):
        for entry in batch:
            after = entry.position
            kind = FACTS.get(entry.kind)
            if kind is None:
                raise BrokenInvariant(f"the journal holds a fact named {entry.kind!r} that nobody knows")
            fact = unpack_record(entry.body, kind)
            if books is None:
                if not isinstance(fact, LaneOpened):
                    raise BrokenInvariant("the stream of a lane does not begin with its opening")
                books = LaneBooks(lane=fact.lane)
            books = apply(books, fact)
    if books is None:
        raise BrokenInvariant("there is no such lane")
    return books
