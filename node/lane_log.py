"""The escrow's events about our own lanes, read once and kept in the journal.

What lies deep enough is kept and never asked for again; the few newest blocks are read each time, so that a reorg of
them changes nothing that was kept. A reorg deeper than that shows as sums that do not add up, and then :meth:`forget`
has everything read anew.
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from msgspec import Struct

from ledger.lane_facts import MAX_BOOKED
from ledger.ports import Chain, Journal, LaneKey, LedgerEvent, NewEntry
from market.codec import pack_record, unpack_record

SPAN = 5_000
"""Blocks asked for at once."""
DEPTH = 64
"""Blocks that a reorg may still take back."""
_KIND = "LaneEvent"


class LaneEvent(Struct, frozen=True, kw_only=True):
    """One event about a lane. ``units`` is the amount deposited or given back to the payer, 0 for other kinds."""

    lane: LaneKey
    kind: str
    units: int
    transaction: bytes
    block: int
    index: int


class _Place(Struct, frozen=True, kw_only=True):
    """How far was read: everything before ``next_block``, kept under ``edition``."""

    edition: int = 0
    next_block: int = 0


class LaneLog:
    """All events about lanes that our account pays from.

    Args:
        is_ours: whether we use the lane. A deposit of one unit opens a lane with any account as its payer: what
            strangers open in our name would cost us room for ever, and them a little gas.
        start_block: first block that can hold an event of ours.
    """

    def __init__(self, chain: Chain, journal: Journal, *, start_block: int, is_ours: Callable[[LaneKey], bool]) -> None:
        self._chain = chain
        self._is_ours = is_ours
        self._journal = journal
        self._start_block = start_block
        self._root = f"lanelog/{chain.chain_id}-{chain.escrow.hex()}-{chain.account.hex()}"
        self._turn = trio.StrictFIFOLock()
        self._place: _Place | None = None
        self._kept: list[LaneEvent] = []

    async def events(self, lane: LaneKey) -> list[LaneEvent]:
        """The lane's events up to the newest block, oldest first.

        Raises:
            Unavailable: the chain does not answer, or the journal cannot write.
        """
        async with self._turn:
            place = await self._load()
            head = (await self._chain.head()).number
            newest: list[LaneEvent] = []
            for first in range(place.next_block, head + 1, SPAN):
                last = min(first + SPAN - 1, head)
                found = self._ours(await self._chain.events(first, last))
                deep = max(min(last, head - DEPTH) + 1, first)
                place = await self._keep([one for one in found if one.block < deep], place, deep)
                newest += [one for one in found if one.block >= deep]
            return [one for one in (*self._kept, *newest) if one.lane == lane]

    async def forget(self) -> None:
        """Read everything anew the next time: what was kept does not agree with the chain.

        Raises:
            Unavailable: the journal cannot write.
        """
        async with self._turn:
            place = await self._load()
            again = _Place(edition=place.edition + 1, next_block=self._start_block)
            await self._journal.append([], {self._root: pack_record(again)})
            self._place, self._kept = again, []

    async def _load(self) -> _Place:
        if self._place is None:
            raw = await self._journal.get(self._root)
            self._place = unpack_record(raw, _Place) if raw is not None else _Place(next_block=self._start_block)
            entries = await self._journal.read(self._stream(self._place))
            kept = [unpack_record(entry.body, LaneEvent) for entry in entries]
            self._kept = [one for one in kept if self._is_ours(one.lane)]
        return self._place

    async def _keep(self, events: list[LaneEvent], place: _Place, next_block: int) -> _Place:
        if next_block <= place.next_block:
            return place
        after = _Place(edition=place.edition, next_block=next_block)
        entries = [
            NewEntry(stream=self._stream(place), kind=_KIND, at_ms=0, body=pack_record(event)) for event in events
        ]
        await self._journal.append(entries, {self._root: pack_record(after)})
        self._place = after
        self._kept += events
        return after

    def _ours(self, events: list[LedgerEvent]) -> list[LaneEvent]:
        found = [_read(event) for event in events]
        account = self._chain.account
        ours = [one for one in found if one is not None and one.lane.payer == account and self._is_ours(one.lane)]
        return sorted(ours, key=lambda one: (one.block, one.index))

    def _stream(self, place: _Place) -> str:
        return f"{self._root}/{place.edition}"


def _read(event: LedgerEvent) -> LaneEvent | None:
    said = event.arguments
    payer, payee, signer = said.get("payer"), said.get("provider"), said.get("signer")
    if not (isinstance(payer, bytes) and isinstance(payee, bytes) and isinstance(signer, bytes)):
        return None
    units = said.get("amount", said.get("toPayer", 0))
    return LaneEvent(
        lane=LaneKey(payer=payer, payee=payee, signer=signer),
        kind=event.kind,
        units=min(max(units, 0), MAX_BOOKED) if isinstance(units, int) else 0,
        transaction=event.transaction,
        block=event.block,
        index=event.index,
    )
