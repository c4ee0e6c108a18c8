"""Tells the market of our bids. Those of one moment travel together: a message costs milliseconds of CPU everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import trio

from market.records import Bid
from market.signing import Verified
from node import wire
from node.admission import pack_batch
from node.ports import Network

TICK_S, PAUSE_S = 0.05, 0.25
"""The first bid after a while waits so long for others, the next ones until so long after the last message. Nobody
waits for them: their auctions go on meanwhile."""
_MOST_BYTES = wire.MAX_GOSSIP_BYTES - 1024
_MOST_WAITING = 1024


class BidPoster:
    """Publishes this node's bids, in as few gossip messages as hold them."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._waiting: list[Verified[Bid]] = []
        self._something = trio.Event()

    def post(self, bid: Verified[Bid]) -> None:
        """Publish a bid soon. Returns at once; what is more than anybody listens to is left out."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append(bid)
            self._something.set()

    async def post_forever(self) -> None:
        """Publish what was posted, until cancelled."""
        last = float("-inf")
        while True:
            await self._something.wait()
            await trio.sleep(max(TICK_S, last + PAUSE_S - trio.current_time()))
            last = trio.current_time()
            self._something = trio.Event()
            bids, self._waiting = self._waiting, []
            for batch in batches(bids):
                await self._network.publish(wire.TOPIC_BIDS, pack_batch(batch))


def batches(bids: Iterable[Verified[Bid]]) -> Iterator[list[Verified[Bid]]]:
    """Cut a list into messages that others accept."""
    batch: list[Verified[Bid]] = []
    size = 0
    for bid in bids:
        if batch and (len(batch) == wire.MAX_BATCH_RECORDS or size + len(bid.raw) > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(bid)
        size += len(bid.raw)
    if batch:
        yield batch
