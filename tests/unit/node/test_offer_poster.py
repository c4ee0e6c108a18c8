"""Our offers stay on the market: posted at once, on every change, and before they expire."""

from __future__ import annotations

from itertools import pairwise

import pytest
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
from tests.fakes.samples import SELLER, a_signer, an_offer
from tests.simulation.marketplace import SimulatedClock


class Stall:
    """A node with some machines, posting for a while."""

    def __init__(self, machines: int = 1) -> None:
        self.network, self.clock = RecordingNetwork(SELLER.key), SimulatedClock()
        self.intake = OfferIntake(self.network, self.clock)
        self.machines = [Machine(machine_class(name=f"m{number}"), SELLER) for number in range(machines)]
        self.poster = OfferPoster(self.machines, self.network, self.intake, self.clock, signer=SELLER)

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


async def test_the_longer_things_keep_changing_the_less_often_is_it_said(autojump_clock: MockClock):
    stall = Stall()

    async def change() -> None:
        for number in range(1_000):
            stall.machines[0].note_grant(number.to_bytes(16, "little"), stall.clock.now_ms())
            stall.poster.changed()
            await trio.sleep(0.01)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await stall.open(15)
    offers = [offer for (offer,) in stall.posted()]
    assert 10 <= len(offers) <= 16
    assert offers[-1].granted[-1] == (999).to_bytes(8, "little"), "the last change is said too"


async def test_only_machines_with_news_are_posted_before_their_time(autojump_clock: MockClock):
    stall = Stall(machines=3)

    async def change() -> None:
        await trio.sleep(5)
        stall.machines[1].draining = True
        stall.poster.changed()
        await trio.sleep(1)
        stall.poster.changed()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await stall.open(22)
    assert [[offer.machine for offer in lot] for lot in stall.posted()] == [["m0", "m1", "m2"], ["m1"], ["m0", "m2"]]


@pytest.mark.parametrize("skew_ms", [-3_600_000, 3_600_000])
@pytest.mark.parametrize("at", [0.05, 1.0])
async def test_a_clock_that_is_set_does_not_silence_a_node(autojump_clock: MockClock, skew_ms: int, at: float):
    stall = Stall()

    async def set_clock() -> None:
        await trio.sleep(at)
        stall.clock.skew_ms = skew_ms

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_clock)
        await stall.open(60)
    assert len(stall.posted()) >= 3


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


async def test_all_machines_are_taken_back_when_the_node_stops(autojump_clock: MockClock):
    stall = Stall(machines=wire.MAX_BATCH_RECORDS + 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall.open, 600)
        await trio.sleep(5)
        before = len(stall.posted())
        await stall.poster.withdraw()
        stall.poster.changed()
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    gone = [offer for offers in stall.posted()[before:] for offer in offers]
    assert [offer.machine for offer in gone] == [machine.description.name for machine in stall.machines]
    assert all(offer.withdrawn for offer in gone)
    assert len(stall.intake.book) == 0


async def test_withdrawals_are_said_even_when_the_task_is_cancelled(autojump_clock: MockClock):
    stall = Stall()
    with trio.move_on_after(0):
        await stall.poster.withdraw()
    assert [[offer.withdrawn for offer in offers] for offers in stall.posted()] == [[True]]


async def test_a_network_that_hangs_does_not_keep_a_node_from_stopping(autojump_clock: MockClock):
    stall = Stall()

    async def hang(_topic: str, _message: bytes) -> None:
        await trio.sleep_forever()

    stall.network.publish = hang  # type: ignore[method-assign]
    with trio.fail_after(5):
        await stall.poster.withdraw()


async def test_a_machine_of_an_earlier_run_is_withdrawn_when_others_still_show_it(autojump_clock: MockClock):
    stall = Stall()
    now = stall.clock.now_ms()
    old = SELLER.sign(an_offer(machine="sold", version=now + 5_000, issued_at=now, expires_at=now + 60_000))
    stranger = a_signer("stranger")
    other = stranger.sign(an_offer(provider=stranger.key, machine="x", issued_at=now, expires_at=now + 60_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall.open, 600)
        await trio.sleep(1)
        for offer in (old, other):
            stall.intake.take(offer, source=b"peer")
        await trio.sleep(1)
        assert [(one.machine, one.withdrawn) for one in stall.posted()[-1]] == [("sold", True)]
        assert stall.posted()[-1][0].version > old.record.version
        await trio.sleep(60)
        assert [one.machine for one in stall.posted()[-1]] == ["m0"]
        nursery.cancel_scope.cancel()


async def test_an_offer_that_others_hold_in_a_later_version_is_outdone(autojump_clock: MockClock):
    """Our clock was ahead before the restart: what we post would be old news everywhere."""
    stall = Stall()
    now = stall.clock.now_ms()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stall.open, 600)
        await trio.sleep(1)
        for version, withdrawn in ((now + 30_000, False), (now + 70_000, True)):
            ahead = an_offer(version=version, issued_at=now, expires_at=now + 60_000, withdrawn=withdrawn)
            stall.intake.take(SELLER.sign(ahead), source=b"peer")
            await trio.sleep(20)
            assert stall.posted()[-1][0].version > version
            assert len(stall.intake.book) == 1
        nursery.cancel_scope.cancel()
