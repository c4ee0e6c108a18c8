"""How much a requester may hold without paying: an award costs nothing, but it takes slots off the market.

A stranger whose leases bring no money is asked to wait, twice as long every time; one paid lease clears the slate.
Keys are free, so this only stops the lazy; the short funding deadline of an offer bounds what each key can block.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_UNFUNDED = 4
"""Leases one requester may hold at the same time before any of them is funded."""
FIRST_PAUSE_MS = 10_000
LAST_PAUSE_MS = 3_600_000
_REMEMBERED = 10_000


class GrantLimits:
    """Remembers lapses per requester, bounded; the oldest are forgotten first. Times are UTC milliseconds."""

    def __init__(self) -> None:
        self._lapsed: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def may_grant(self, requester: bytes, *, unfunded: int, now: int) -> bool:
        """Whether a requester that holds ``unfunded`` leases may be granted another."""
        _, wait_until = self._lapsed.get(requester, (0, 0))
        return unfunded < MAX_UNFUNDED and now >= wait_until

    def ended(self, requester: bytes, *, paid: bool, now: int) -> None:
        """A lease is over; ``paid`` says whether any money ever came: a deposit alone can come home again."""
        if paid:
            self._lapsed.pop(requester, None)
            return
        count = self._lapsed.get(requester, (0, 0))[0] + 1
        pause = min(FIRST_PAUSE_MS << min(count - 1, 16), LAST_PAUSE_MS)
        self._lapsed[requester] = (count, now + pause)
        self._lapsed.move_to_end(requester)
        while len(self._lapsed) > _REMEMBERED:
            self._lapsed.popitem(last=False)
