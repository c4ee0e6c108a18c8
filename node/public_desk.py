"""Shows live bids to peers that ask, such as light clients, which were not there when the bids were gossiped."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from market import codec
from market.records import Bid
from market.signing import Verified
from node import wire
from node.peer_budgets import PeerBudgets, Rate
from node.ports import Clock, Network

BIDS_RATE = Rate(per_second=0.5, burst=10.0)
"""Times that we show one peer the bids. Each may be a quarter of a mebibyte."""
BIDS_TOTAL = Rate(per_second=20.0, burst=100.0)
"""The same for all peers together: new identities cost nothing."""
MAX_BIDS = 1024
MAX_BIDS_ANSWER = 256 * 1024


class PublicDesk:
    """Answers for the bids this node has heard.

    Args:
        heard: all bids that are remembered, the newest last.
    """

    def __init__(self, network: Network, clock: Clock, heard: Callable[[], Iterable[Verified[Bid]]]) -> None:
        self._network = network
        self._clock = clock
        self._heard = heard
        self._budgets = PeerBudgets()

    def register(self) -> None:
        """Answer peers that ask, from now on."""
        self._network.serve(wire.PROTOCOL_BIDS, self._answer, max_request=64)

    def live(self) -> list[Verified[Bid]]:
        """The bids that have not expired, newest first."""
        now = self._clock.now_ms()
        return [bid for bid in reversed(list(self._heard())) if bid.record.expires_at > now]

    async def _answer(self, peer: bytes, request: bytes) -> bytes:
        now = trio.current_time()
        if not (self._budgets.allow(peer, BIDS_RATE, now) and self._budgets.allow(b"", BIDS_TOTAL, now)):
            return codec.pack([])
        shown: list[bytes] = []
        size = 16
        for bid in self.live()[:MAX_BIDS]:
            size += len(bid.raw) + 8
            if size > MAX_BIDS_ANSWER:
                break
            shown.append(bid.raw)
        return codec.pack(shown)
