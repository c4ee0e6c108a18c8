"""How much trouble each peer may still make, and which peers are banned. Pure: time comes in as an argument.

Two kinds of allowance per peer. *Rates* are token buckets: talking faster than its rate costs a peer the
message, nothing more. *Trust* is a small store of points that broken rules use up; when it is empty the peer
is banned for a while. Everything is bounded: a stranger can make new keys for nothing, so forgetting the
calmest peer must be cheap.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

BAN_S = 600.0
"""A banned peer is disconnected and refused this long."""
TRUST_POINTS = 10.0
"""Broken rules a peer gets away with at once."""
TRUST_REFILL_S = 60.0
"""One point comes back in this time: an honest peer with a rare fault is never banned."""
MAX_PEERS = 4096


@dataclass(frozen=True, eq=False)
class Rate:
    """A token bucket's size (``burst``) and its refill per second (``per_second``). Each is a kind of its own: two of
    the same numbers do not share a bucket."""

    per_second: float
    burst: float


GOSSIP_RATE = Rate(per_second=100.0, burst=1000.0)
"""New gossip messages forwarded by one peer, whoever wrote them; more are not looked at. A message is a batch."""
RECORD_RATE = Rate(per_second=100.0, burst=1000.0)
"""Records in them whose signatures were not checked before. The numbers are those of messages, so this binds only a
peer whose messages are full: at its limit one costs about 2 % of a core. What is over is left to other forwarders."""
BOOK_RECORD_RATE = Rate(per_second=200.0, burst=10_000.0)
"""The same in books that one peer showed us: eight full pages, then one every six seconds. A newcomer may know only one
peer; useless records end a visit long before."""
BOOK_RATE = Rate(per_second=1.0, burst=10.0)
"""Pages of our book that we show to one peer, each up to a mebibyte. A node without offers asks once a second."""
BOOK_BYTES_RATE = Rate(per_second=4 * 2**20, burst=64 * 2**20)
"""Bytes of our book that we show to all peers together: keys cost nothing, and each has a rate of its own. A newcomer
that we turn away asks another."""
BOOK_PAGE_COST = 32 * 2**10
"""Bytes counted for a page at least: to find out that there is nothing to show costs time, too."""
ADDRESS_RATE = Rate(per_second=50.0, burst=512.0)
"""Providers whose addresses we read as their offers come in, from all peers together."""
PEERS_RATE = Rate(per_second=2.0, burst=20.0)
"""Times that we name peers to one peer. A node whose neighbours change asks twice a second."""
REQUEST_RATE = Rate(per_second=200.0, burst=1000.0)
"""Requests answered for one peer; faster ones wait."""
STREAM_RATE = Rate(per_second=20.0, burst=100.0)
"""Byte streams accepted from one peer."""


class Bucket:
    """A token bucket: fills by time, empties by :meth:`take`."""

    __slots__ = ("_at", "_rate", "level")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate, self._at, self.level = rate, now, rate.burst

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take ``amount`` if that much is there; otherwise take nothing and say ``False``."""
        self.level = min(self._rate.burst, self.level + max(0.0, now - self._at) * self._rate.per_second)
        self._at = now
        if self.level < amount:
            return False
        self.level -= amount
        return True


class PeerBudgets:
    """Budgets of all peers by public key. ``now`` is any clock that only goes forward, in seconds."""

    def __init__(
        self,
        *,
        trust_points: float = TRUST_POINTS,
        trust_refill_s: float = TRUST_REFILL_S,
        ban_s: float = BAN_S,
    ) -> None:
        self._trust_rate = Rate(per_second=1.0 / trust_refill_s, burst=trust_points)
        self._ban_s = ban_s
        self._trust: OrderedDict[bytes, Bucket] = OrderedDict()
        self._rates: OrderedDict[tuple[bytes, Rate], Bucket] = OrderedDict()
        self._banned_until: OrderedDict[bytes, float] = OrderedDict()

    def allow(self, peer: bytes, rate: Rate, now: float, amount: float = 1.0) -> bool:
        """Whether the peer may do ``amount`` more things of this kind now; takes them from the bucket if so."""
        return _bucket(self._rates, (peer, rate), rate, now).take(now, amount)

    def penalise(self, peer: bytes, now: float, points: float = 1.0) -> bool:
        """Charge a broken rule. ``True``: this used up the peer's trust, and it is banned from now on."""
        if self.is_banned(peer, now):
            return False
        if _bucket(self._trust, peer, self._trust_rate, now).take(now, points):
            return False
        self._trust.pop(peer, None)
        self._banned_until[peer] = now + self._ban_s
        while len(self._banned_until) > MAX_PEERS:
            self._banned_until.popitem(last=False)
        return True

    def is_banned(self, peer: bytes, now: float) -> bool:
        """Whether the peer is to be refused now."""
        until = self._banned_until.get(peer)
        if until is not None and now >= until:
            del self._banned_until[peer]
            return False
        return until is not None


def _bucket(buckets: OrderedDict, key: object, rate: Rate, now: float) -> Bucket:  # type: ignore[type-arg]
    found = buckets.get(key)
    if found is None:
        found = buckets[key] = Bucket(rate, now)
        if len(buckets) > MAX_PEERS:
            buckets.popitem(last=False)  # the longest unused one: by now full again, so nothing is forgiven
    buckets.move_to_end(key)
    return found
