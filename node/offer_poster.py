"""Keeps our offers on the market: posts them when something changed, and again before they expire; takes them back when
the node stops, and when others still show machines that an earlier run had for sale."""

from __future__ import annotations

import trio

from market.records import Offer
from market.signing import Signer, Verified
from node import wire
from node.admission import pack_batch
from node.machine import Machine, withdrawal
from node.offer_intake import OfferIntake
from node.ports import Clock, Network

_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.25, 1.0
"""Between two posts, the longer the more often things change: a delivery costs milliseconds of CPU everywhere."""
_GOODBYE_S, _ON_ITS_WAY_S = 2.0, 0.2
"""For all that is said when a node stops, and of it for the network to send what was handed to it."""


class OfferPoster:
    """Posts this node's machines, in as few gossip messages as hold them: at each change those that have news, each
    again before it expires."""

    def __init__(
        self, machines: list[Machine], network: Network, intake: OfferIntake, clock: Clock, *, signer: Signer
    ) -> None:
        self._machines = machines
        self._network = network
        self._intake = intake
        self._clock = clock
        self._signer = signer
        self._forgotten: dict[str, Offer] = {}
        self._changed = trio.Event()
        self._is_over = False
        intake.on_own = self._heard_own

    def changed(self) -> None:
        """A slot was taken or freed, or the owner changed something: post at once."""
        self._changed.set()

    async def post_forever(self) -> None:
        """Post now, on every change, and every :data:`wire.OFFER_REFRESH_MS`, until :meth:`withdraw`."""
        pause = _FIRST_PAUSE_S
        while not self._is_over:
            self._changed = trio.Event()
            now = self._clock.now_ms()
            offers = [
                machine.post(now, self._network.addresses()) for machine in self._machines if self._is_due(machine)
            ]
            offers += [withdrawal(self._signer, offer, now) for offer in self._forgotten.values()]
            self._forgotten.clear()
            await self._publish(offers)
            # Several slots that change at once become one message.
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S) if self._changed.is_set() else _FIRST_PAUSE_S
            with trio.move_on_after(self._until_refresh() / 1000):
                await self._changed.wait()

    def _is_due(self, machine: Machine) -> bool:
        now = self._clock.now_ms()
        is_fresh = 0 <= now - machine.posted_at < wire.OFFER_REFRESH_MS
        return not is_fresh or machine.has_news(now, self._network.addresses())

    def _until_refresh(self) -> int:
        """Milliseconds until the first machine must be posted again. A clock that was set back is no reason to wait."""
        now = self._clock.now_ms()
        oldest = min((machine.posted_at for machine in self._machines), default=now)
        return max(0, min(oldest + wire.OFFER_REFRESH_MS - now, wire.OFFER_REFRESH_MS))

    async def withdraw(self) -> None:
        """Say that nothing is for sale here any more, for a node that is about to stop. Takes a moment, even when the
        task is cancelled meanwhile, and never long."""
        self._is_over = True
        self.changed()
        now = self._clock.now_ms()
        with trio.move_on_after(_GOODBYE_S) as scope:
            scope.shield = True
            await self._publish([machine.withdraw(now) for machine in self._machines])
            await trio.sleep(_ON_ITS_WAY_S)

    async def _publish(self, offers: list[Verified[Offer]]) -> None:
        for offer in offers:
            self._intake.take(offer)
        for start in range(0, len(offers), wire.MAX_BATCH_RECORDS):
            batch = offers[start : start + wire.MAX_BATCH_RECORDS]
            await self._network.publish(wire.TOPIC_OFFERS, pack_batch(batch))

    def _heard_own(self, offer: Verified[Offer]) -> None:
        """Others know something newer of our machines than we do: it was said by an earlier run of this node."""
        record = offer.record
        machine = next((one for one in self._machines if one.description.name == record.machine), None)
        if machine is not None:
            machine.outdo(record.version)
        elif not record.withdrawn:
            self._forgotten[record.machine] = record
            self.changed()
