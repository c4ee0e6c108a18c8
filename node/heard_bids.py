"""The bids of others that were heard and may still be open. Bounded: nobody can push out everybody else's.

Keys cost nothing, and a peer that hands bids on says nothing about who wrote them. So each requester has a share, and
when there are too many, room is made at the expense of the peer that handed in most.
"""

from __future__ import annotations

from collections.abc import Iterator, ValuesView

from market.records import Bid
from market.signing import Verified

MOST = 4096
OF_ONE_REQUESTER = 256
"""More than a node has under way at once; of what is beyond, the oldest are forgotten."""


class HeardBids:
    """Bids by their ids, those heard last at the end.

    Args:
        most: how many are kept in all.
        of_one_requester: how many of one key.
    """

    def __init__(self, *, most: int = MOST, of_one_requester: int = OF_ONE_REQUESTER) -> None:
        self._most, self._of_one = most, of_one_requester
        self._bids: dict[bytes, Verified[Bid]] = {}
        self._source_of: dict[bytes, bytes] = {}
        self._from: dict[bytes, dict[bytes, None]] = {}
        self._by: dict[bytes, dict[bytes, None]] = {}

    def __len__(self) -> int:
        return len(self._bids)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._bids)

    def values(self) -> ValuesView[Verified[Bid]]:
        """The bids, newest last."""
        return self._bids.values()

    def newest_first(self) -> Iterator[Verified[Bid]]:
        """The same the other way round."""
        return reversed(self._bids.values())

    def add(self, bid: Verified[Bid], source: bytes) -> None:
        """Keep a bid that a peer handed to us. One that is known stays whose it was: to repeat others' is no merit."""
        if bid.id in self._bids:
            return
        own = self._by.setdefault(bid.record.requester, {})
        if len(own) >= self._of_one:
            self._forget(next(iter(own)))
        elif len(self._bids) >= self._most:
            crowd = max(self._from, key=lambda one: len(self._from[one]))
            self._forget(next(iter(self._from[crowd])))
        self._bids[bid.id] = bid
        self._source_of[bid.id] = source
        self._from.setdefault(source, {})[bid.id] = None
        self._by.setdefault(bid.record.requester, {})[bid.id] = None

    def drop_expired(self, now: int) -> None:
        """Forget the oldest as far as their time is over; UTC milliseconds."""
        while self._bids:
            bid_id, oldest = next(iter(self._bids.items()))
            if oldest.record.expires_at > now:
                return
            self._forget(bid_id)

    def _forget(self, bid_id: bytes) -> None:
        requester = self._bids.pop(bid_id).record.requester
        for crowds, name in ((self._from, self._source_of.pop(bid_id)), (self._by, requester)):
            del crowds[name][bid_id]
            if not crowds[name]:
                del crowds[name]
