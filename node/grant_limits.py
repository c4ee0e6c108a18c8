"""How much a requester may hold without paying: an award costs nothing, but it takes slots off the market.

A stranger whose leases bring no money is asked to wait, twice as long every time; one paid lease clears the slate.
Who gives a lease back at once waits too, but no longer the next time: whoever needs several machines and does not get
them all does so.
Keys are free, so this only stops the lazy; the short funding deadline of an offer bounds what each key can block.
"""

from __future__ import annotations

from collections import OrderedDict

MAX_UNFUNDED = 4
"""Leases one requester may hold at the same time before any of them is funded."""
GIVEN_BACK_MS = 10_000
"""A lease that its requester gives back within this time was not held for its own sake."""
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

    def ended(self, requester: bytes, *, paid: bool, now: int, given_back: bool = False) -> None:
        """A lease is over.

        Args:
            requester: whose it was.
            paid: whether any money ever came: a deposit alone can come home again.
            now: UTC milliseconds.
            given_back: whether it was given back within :data:`GIVEN_BACK_MS`.
        """
        if paid:
            self._lapsed.pop(requester, None)
            return
        count, wait_until = self._lapsed.get(requester, (0, 0))
        count += not given_back
        pause = FIRST_PAUSE_MS if given_back else min(FIRST_PAUSE_MS << min(count - 1, 16), LAST_PAUSE_MS)
        self._lapsed[requester] = (count, max(wait_until, now + pause))
        self._lapsed.move_to_end(requester)
        while len(self._lapsed) > _REMEMBERED:
            self._lapsed.popitem(last=False)
