"""Our offers stay on the market: posted at once, on every change, and before they expire."""

from __future__ import annotations

from itertools import pairwise

import trio
from trio.testing import MockClock

from market import codec
from market.records import Offer
from market.signing import verify
from node import wire
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from tests.fakes.desks import RecordingNetwork, machine_class
from tests.fakes.samples import SELLER
from tests.simulation.marketplace import SimulatedClock


class Stall:
    """A node with some machines, posting for a while."""

    def __init__(self, machines: int = 1) -> None:
        self.network, self.clock = RecordingNetwork(SELLER.key), SimulatedClock()
        self.intake = OfferIntake(self.network, self.clock)
        self.machines = [Machine(machine_class(name=f"m{number}"), SELLER) for number in range(machines)]
        self.poster = OfferPoster(self.machines, self.network, self.intake, self.clock)

    async def open(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self.poster.post_forever()

    def posted(self) -> list[list[Offer]]:
        """The offers of each message, as a peer reads them."""
        messages = [message for topic, message in self.network.published if topic == wire.TOPIC_OFFERS]
        return [[verify(raw, Offer).record for raw in codec.unpack(message)] for message in messages]


async def test_offers_are_posted_at_once_and_are_in_our_own_book(autojump_clock: MockClock):
    stall = Stall()
    await stall.open(1)
    ((offer,),) = stall.posted()
    assert (offer.provider, offer.free_slots) == (SELLER.key, 2)
    assert [one.record for one in stall.intake.book.live(stall.clock.now_ms())] == [offer]


async def test_an_offer_never_expires_while_its_node_is_up(autojump_clock: MockClock):
    stall = Stall()
    await stall.open(600)
    offers = [offer for (offer,) in stall.posted()]
    assert len(offers) == 30
    for earlier, later in pairwise(offers):
        assert later.issued_at < earlier.expires_at - 30_000
        assert later.version > earlier.version


async def test_a_change_is_posted_at_once(autojump_clock: MockClock):
    stall = Stall()

    async def change() -> None:
        await trio.sleep(5)
        stall.machines[0].draining = True
        stall.poster.changed()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await stall.open(6)
    (before,), (after,) = stall.posted()
    assert (before.free_slots, after.free_slots) == (2, 0)
    assert after.issued_at - before.issued_at == 5_000


async def test_many_changes_at_once_are_few_messages(autojump_clock: MockClock):
    stall = Stall()

    async def change() -> None:
        for _ in range(1_000):
            stall.poster.changed()
            await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await stall.open(2)
    assert len(stall.posted()) <= 12


async def test_a_change_during_a_post_is_not_lost(autojump_clock: MockClock):
    stall = Stall()

    async def change() -> None:
        await trio.sleep(0.05)
        stall.machines[0].draining = True
        stall.poster.changed()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await stall.open(1)
    assert [offer.free_slots for (offer,) in stall.posted()] == [2, 0]


async def test_all_machines_travel_together_in_messages_others_accept(autojump_clock: MockClock):
    stall = Stall(machines=wire.MAX_BATCH_RECORDS + 3)
    stall.network.own_addresses = tuple(f"/ip4/203.0.113.{n}/tcp/1/p2p/{'x' * 52}" for n in range(3))
    await stall.open(1)
    assert [len(offers) for offers in stall.posted()] == [wire.MAX_BATCH_RECORDS, 3]
    assert all(len(message) <= wire.MAX_GOSSIP_BYTES for _, message in stall.network.published)
