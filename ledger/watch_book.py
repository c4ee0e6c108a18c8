"""The vouchers that a watchtower holds for providers: checked, bounded, and on disk before it says that it has them.

A voucher can only be redeemed to the provider it names, so whoever holds it can steal nothing. Of each lane the newest
is enough. Who hands in vouchers may be anybody: each peer has a bounded number of places, all peers together too, and a
place is written over and over again, so that the book can never fill a disk. Who gives way is ``watch_room``'s.
"""

from __future__ import annotations

from collections import Counter

import trio
from msgspec import Struct

from ledger.ports import Journal, LaneKey
from ledger.voucher import ROW_BYTES, Domain, Voucher, decode_voucher, encode_voucher, recover, voucher_digest
from ledger.watch_room import Places, WatchRoom
from market.codec import pack_record, unpack_record
from market.errors import PeerFault

MAX_ROWS = 500
"""Vouchers handed in at once."""
MAX_PLACES = 16_384
"""Vouchers of all peers together."""
_BREATHE_EVERY = 16
"""Signatures checked before others in the node get a turn: each takes some sixty microseconds."""


class Kept(Struct, frozen=True, kw_only=True):
    """A voucher in its place: who handed it in, and the voucher as ``encode_voucher`` has it."""

    peer: bytes
    voucher: bytes


class WatchBook:
    """All vouchers that are held, by lane.

    Args:
        per_peer: lanes that one peer may have here.
    """

    def __init__(self, journal: Journal, domain: Domain, *, per_peer: int) -> None:
        self._journal = journal
        self._domain = domain
        self._per_peer = per_peer
        self._root = f"watch/{domain.chain_id}-{domain.escrow.hex()}/"
        self._vouchers: dict[LaneKey, Voucher] = {}
        self._places: dict[LaneKey, int] = {}
        self._peers: dict[LaneKey, bytes] = {}
        self._funded: set[LaneKey] = set()
        self._empty: set[LaneKey] = set()
        self._unseen: dict[LaneKey, None] = {}
        self._proofs: Counter[bytes] = Counter()
        self._turn = trio.StrictFIFOLock()

    async def load(self) -> None:
        """Read what the last run held. Safe to repeat."""
        for key, raw in (await self._journal.get_all(self._root)).items():
            if raw:
                kept = unpack_record(raw, Kept)
                self._adopt(int(key.removeprefix(self._root)), kept.peer, decode_voucher(kept.voucher))

    @property
    def vouchers(self) -> dict[LaneKey, Voucher]:
        """The newest voucher of each lane; not to be changed."""
        return self._vouchers

    @property
    def peers(self) -> Counter[bytes]:
        """How many lanes each peer has here."""
        return Counter(self._peers.values())

    def saw(self, lane: LaneKey, *, funded: bool) -> None:
        """The chain was asked: whether the lane holds money that is worth a redemption. Empty ones give way in need."""
        if lane in self._vouchers:
            self._unsee(lane)
            (self._funded if funded else self._empty).add(lane)
            self._proofs[self._peers[lane]] += funded

    @property
    def unseen(self) -> dict[LaneKey, None]:
        """The lanes about which the chain was not asked since the start, in the order in which they came; not to be
        changed."""
        return self._unseen

    def proven(self, peer: bytes) -> bool:
        """Whether a lane that the peer handed in holds money."""
        return self._proofs[peer] > 0

    async def take(self, peer: bytes, payee: bytes, rows: bytes) -> int:
        """Keep what is newer than what is held. On disk when this returns.

        Args:
            rows: vouchers to ``payee`` as ``redeemMany`` reads them, one after the other.

        Returns:
            How many of the rows are held now, as they are or by a newer one; the others found no place.

        Raises:
            PeerFault: ``voucher_range`` (no whole rows, or too many), or a row that nobody signed; nothing was kept.
            Unavailable: the journal could not write; nothing was kept.
        """
        if not rows or len(rows) % ROW_BYTES or len(rows) > MAX_ROWS * ROW_BYTES or len(payee) != 20:
            raise PeerFault("not rows of vouchers", code="voucher_range")
        handed = [await self._read(payee, rows[at : at + ROW_BYTES], at) for at in range(0, len(rows), ROW_BYTES)]
        async with self._turn:
            fresh: dict[LaneKey, Voucher] = {}
            held, room = 0, self._room({voucher.lane for voucher in handed})
            for voucher in handed:
                known = fresh.get(voucher.lane) or self._vouchers.get(voucher.lane)
                if known is not None and known.cumulative >= voucher.cumulative:
                    held += 1
                elif known is not None or room.admit(peer):
                    held += 1
                    fresh[voucher.lane] = voucher
            await self._write(peer, fresh, room.gone)
            return held

    async def drop(self, lane: LaneKey) -> None:
        """The voucher is worth nothing any more: its place is free."""
        async with self._turn:
            if lane in self._vouchers:
                await self._journal.append([], {self._key(self._places[lane]): b""})
                self._forget(lane)

    async def _read(self, payee: bytes, row: bytes, at: int) -> Voucher:
        if at % (_BREATHE_EVERY * ROW_BYTES) == 0:
            await trio.lowlevel.checkpoint()
        cumulative = int.from_bytes(row[20:32], "big")
        unsigned = LaneKey(payer=row[:20], payee=payee, signer=bytes(20))
        # Who signed it is whose lane it draws from: a wrong signature names a lane that holds nothing.
        signer = recover(voucher_digest(self._domain, unsigned, cumulative), row[32:])
        return Voucher(LaneKey(payer=row[:20], payee=payee, signer=signer), cumulative, row[32:])

    def _room(self, named: set[LaneKey]) -> WatchRoom:
        """``named``: lanes of this hand-over, which do not give way to others of it."""
        places = Places(per_peer=self._per_peer, all=MAX_PLACES)
        return WatchRoom(self._peers, places, funded=self._funded, empty=self._empty, named=named)

    async def _write(self, peer: bytes, fresh: dict[LaneKey, Voucher], gone: set[LaneKey]) -> None:
        """Put the new ones where there is room, in one write with the end of those that give way for them."""
        if not fresh:
            return
        taken, free = {place for lane, place in self._places.items() if lane not in gone}, 0
        places: dict[LaneKey, int] = {}
        for lane in fresh:
            if lane not in self._places:
                while free in taken:
                    free += 1
                taken.add(free)
            places[lane] = self._places.get(lane, free)
        owners = {lane: self._peers.get(lane, peer) for lane in fresh}
        put = {self._key(self._places[lane]): b"" for lane in gone}
        put |= {
            self._key(places[lane]): pack_record(Kept(peer=owners[lane], voucher=encode_voucher(voucher)))
            for lane, voucher in fresh.items()
        }
        await self._journal.append([], put, urgent=True)
        for lane in gone:
            self._forget(lane)
        for lane, voucher in fresh.items():
            self._adopt(places[lane], owners[lane], voucher)

    def _forget(self, lane: LaneKey) -> None:
        self._unsee(lane)
        del self._vouchers[lane], self._places[lane], self._peers[lane]

    def _unsee(self, lane: LaneKey) -> None:
        self._unseen.pop(lane, None)
        self._empty.discard(lane)
        if lane in self._funded:
            self._funded.discard(lane)
            self._proofs -= Counter([self._peers[lane]])

    def _adopt(self, place: int, peer: bytes, voucher: Voucher) -> None:
        if voucher.lane not in self._vouchers:
            self._unseen[voucher.lane] = None
        self._vouchers[voucher.lane] = voucher
        self._places[voucher.lane] = place
        self._peers[voucher.lane] = peer

    def _key(self, place: int) -> str:
        return f"{self._root}{place}"
