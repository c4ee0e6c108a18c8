"""Who gets a place in a watchtower's book, and whose lane gives way for it. Decisions without I/O.

Keys and lanes cost nothing, so a stranger could fill any book with lanes that never held a token. What the chain has
shown to hold money is never pushed out, and peers with such a lane have half of the places for themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from msgspec import Struct

from ledger.ports import LaneKey


class Places(Struct, frozen=True, kw_only=True):
    """How many lanes one peer may have, and all together. Peers without a funded lane have half of ``all``."""

    per_peer: int
    all: int


class WatchRoom:
    """The places as they are when vouchers are handed in; :meth:`admit` counts what it gives.

    Args:
        peers: who handed in the voucher of each lane.
        funded: lanes that the chain showed to hold money worth redeeming.
        empty: lanes that it showed to hold none. What is in neither was not looked at yet.
        named: lanes that do not give way now.

    Attributes:
        gone: the lanes that gave way.
    """

    def __init__(
        self,
        peers: Mapping[LaneKey, bytes],
        places: Places,
        *,
        funded: Collection[LaneKey],
        empty: Collection[LaneKey],
        named: Collection[LaneKey] = (),
    ) -> None:
        self.gone: set[LaneKey] = set()
        self._peers, self._places = peers, places
        self._funded, self._empty, self._named = funded, empty, named
        self._held = Counter(peers.values())
        self._proven = {peers[lane] for lane in funded if lane in peers}
        self._total = len(peers)
        self._strangers = sum(count for peer, count in self._held.items() if peer not in self._proven)
        self._rank: dict[LaneKey, int] = {}
        self._of_strangers: list[LaneKey] = []
        self._of_proven: list[LaneKey] = []
        self._owns: dict[bytes, list[LaneKey]] = {}
        self._ordered = False

    def admit(self, peer: bytes) -> bool:
        """Whether the peer gets a place for one more lane; it is counted as given."""
        proven = peer in self._proven
        gives: LaneKey | None = None
        if self._held[peer] >= self._places.per_peer:
            gives = self._own(peer)
        elif not proven and self._strangers >= self._places.all // 2:
            gives = self._last(peer)
        elif self._total >= self._places.all:
            gives = self._last(peer) or self._last(peer, proven=True)
        else:
            self._count(peer, 1)
            return True
        if gives is None:
            return False
        self.gone.add(gives)
        self._count(self._peers[gives], -1)
        self._count(peer, 1)
        return True

    def _order(self) -> None:
        """Those that give way first come last: the empty ones, then the lanes of whoever has the most."""
        self._ordered = True
        left = Counter(self._peers.values())
        spare = [lane for lane in self._peers if lane not in self._funded and lane not in self._named]
        for lane in spare:
            left[self._peers[lane]] -= 1
            self._rank[lane] = left[self._peers[lane]]
        spare.sort(key=lambda lane: (lane in self._empty, self._rank[lane]))
        for lane in spare:
            (self._of_proven if self._peers[lane] in self._proven else self._of_strangers).append(lane)

    def _own(self, peer: bytes) -> LaneKey | None:
        """An empty lane of the peer itself."""
        if peer not in self._owns:
            spare = [lane for lane in self._empty if lane not in self._named and self._peers.get(lane) == peer]
            self._owns[peer] = sorted(spare)
        own = self._owns[peer]
        while own and own[-1] in self.gone:
            own.pop()
        return own[-1] if own else None

    def _last(self, peer: bytes, *, proven: bool = False) -> LaneKey | None:
        if not self._ordered:
            self._order()
        ordered = self._of_proven if proven else self._of_strangers
        while ordered and ordered[-1] in self.gone:
            ordered.pop()
        if not ordered:
            return None
        lane = ordered[-1]
        # A lane nobody looked at yet gives way only to a peer that has fewer: who came first keeps its share until the
        # chain was asked. What a stranger has in the half that is not its own gives way to a peer with money at stake.
        outranks = peer in self._proven and self._peers[lane] not in self._proven
        return lane if lane in self._empty or outranks or self._rank[lane] > self._held[peer] else None

    def _count(self, peer: bytes, more: int) -> None:
        self._held[peer] += more
        self._total += more
        self._strangers += 0 if peer in self._proven else more
