"""Keeps our offers on the market: posts them when something changed, and again before they expire."""

from __future__ import annotations

import trio

from node import wire
from node.admission import pack_batch
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.ports import Clock, Network

_NOT_SOONER_THAN_S = 0.1


class OfferPoster:
    """Posts all machines of this node, in as few gossip messages as hold them, at each change or refresh."""

    def __init__(self, machines: list[Machine], network: Network, intake: OfferIntake, clock: Clock) -> None:
        self._machines = machines
        self._network = network
        self._intake = intake
        self._clock = clock
        self._changed = trio.Event()

    def changed(self) -> None:
        """A slot was taken or freed, or the owner changed something: post at once."""
        self._changed.set()

    async def post_forever(self) -> None:
        """Post now, on every change, and every :data:`wire.OFFER_REFRESH_MS`."""
        while True:
            self._changed = trio.Event()
            now = self._clock.now_ms()
            offers = [machine.post(now, self._network.addresses()) for machine in self._machines]
            for offer in offers:
                self._intake.take(offer)
            for start in range(0, len(offers), wire.MAX_BATCH_RECORDS):
                batch = offers[start : start + wire.MAX_BATCH_RECORDS]
                await self._network.publish(wire.TOPIC_OFFERS, pack_batch(batch))
            # Several slots that change at once become one message: a delivery costs milliseconds of CPU everywhere.
            await trio.sleep(_NOT_SOONER_THAN_S)
            with trio.move_on_after(wire.OFFER_REFRESH_MS / 1000):
                await self._changed.wait()
