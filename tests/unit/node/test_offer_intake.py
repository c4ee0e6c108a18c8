"""The listening side: everything verified, everything bounded."""

from __future__ import annotations

import pytest
import trio

from market import codec
from market.offer_book import Intake
from market.records import Offer
from market.signing import Verified
from node import wire
from node.admission import pack_batch
from node.heard_bids import HeardBids
from node.offer_intake import OfferIntake
from node.peer_budgets import ADDRESS_RATE
from node.ports import Verdict
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, a_signer, an_offer, offered_by

PEERS = [a_signer(f"peer{number}").key for number in range(5)]


class Listener:
    """An intake with its network and its clock."""

    def __init__(self) -> None:
        self.network, self.clock = RecordingNetwork(BUYER.key), SetClock()
        self.noted: list[Verified[Offer]] = []
        self.intake = OfferIntake(self.network, self.clock, on_offer=self.noted.append)
        self.intake.register()

    def hear(self, message: bytes, topic: str = wire.TOPIC_OFFERS, *, deliver: bool = True) -> Verdict:
        verdict = self.network.judges[topic](PEERS[0], message)
        if verdict is Verdict.ACCEPT and deliver:
            self.network.deliveries[topic](PEERS[0], message)
        return verdict

    @property
    def prices(self) -> list[int]:
        return sorted(offer.record.price for offer in self.intake.book.live(self.clock.now))


def some_offers(count: int) -> list[Verified[Offer]]:
    return [offered_by(a_signer(f"p{number}"), price=number) for number in range(count)]


async def test_gossiped_offers_reach_the_book():
    listener = Listener()
    assert listener.hear(pack_batch(some_offers(3))) is Verdict.ACCEPT
    assert listener.prices == [0, 1, 2]


async def test_addresses_are_learned_from_verified_offers_only():
    listener = Listener()
    offer = SELLER.sign(an_offer(addresses=("/ip4/127.0.0.1/tcp/1",)))
    listener.hear(pack_batch([offer]))
    assert listener.network.learned == [(SELLER.key, ("/ip4/127.0.0.1/tcp/1",))]
    forged = codec.unpack(offer.raw)
    forged["sig"] = bytes(64)
    assert listener.hear(codec.pack([codec.pack(forged)])) is Verdict.REJECT
    listener.hear(pack_batch([SELLER.sign(an_offer(version=1))]))
    assert len(listener.network.learned) == 1, "an older version says nothing new"


async def test_a_flood_of_new_providers_does_not_make_us_read_all_their_addresses():
    listener, count = Listener(), int(ADDRESS_RATE.burst) + 50
    for number in range(count):
        listener.intake.take(offered_by(a_signer(f"p{number}"), addresses=("/ip4/127.0.0.1/tcp/1",)), source=PEERS[0])
    assert len(listener.network.learned) == ADDRESS_RATE.burst
    assert len(listener.prices) == count
    listener.clock.now += 1_000
    listener.intake.take(offered_by(a_signer("late"), addresses=("/ip4/127.0.0.1/tcp/1",)), source=PEERS[0])
    assert listener.network.learned[-1][0] == a_signer("late").key


async def test_what_is_new_in_the_book_is_told_once():
    listener, offers = Listener(), [SELLER.sign(an_offer(version=version)) for version in (2, 1, 3, 3)]
    for offer in offers:
        listener.hear(pack_batch([offer]))
    withdrawn = SELLER.sign(an_offer(version=4, withdrawn=True))
    listener.hear(pack_batch([withdrawn, offers[0]]))
    assert listener.noted == [offers[0], offers[2]]
    assert listener.prices == []
    assert listener.intake.dropped == {}


async def test_an_offer_of_our_own_that_others_bring_is_told():
    listener, heard = Listener(), []
    listener.intake.on_own = heard.append
    forgotten, current = (offered_by(BUYER, machine=name) for name in ("old", "new"))
    listener.intake.take(current)
    listener.hear(pack_batch([forgotten, current, SELLER.sign(an_offer())]))
    listener.hear(pack_batch([forgotten]))
    assert heard == [forgotten]


async def test_whoever_brought_most_offers_makes_room_in_a_full_book(monkeypatch: pytest.MonkeyPatch):
    listener = Listener()
    monkeypatch.setattr(listener.intake.book, "_max_offers", 10)
    few, many = some_offers(22)[:2], some_offers(22)[2:]
    for offer in few:
        listener.intake.take(offer, source=PEERS[1])
    for number in range(0, 20, 5):
        assert listener.hear(pack_batch(many[number : number + 5])) is Verdict.ACCEPT
    assert {offer.record.price for offer in few} <= set(listener.prices)


async def test_what_was_refused_is_counted_by_reason():
    listener = Listener()
    listener.hear(b"\xc1")
    listener.hear(b"\xc1")
    listener.hear(pack_batch([SELLER.sign(an_offer(expires_at=NOW))]))
    listener.intake.take(SELLER.sign(an_offer(expires_at=NOW + 10**9)))
    assert listener.intake.dropped == {"undecodable": 2, "expired": 1, "lives_too_long": 1}


async def test_judged_messages_that_are_never_delivered_are_forgotten():
    listener = Listener()
    for offer in some_offers(300):
        assert listener.hear(pack_batch([offer]), deliver=False) is Verdict.ACCEPT
    assert len(listener.intake._judged) <= 256
    listener.network.deliveries[wire.TOPIC_OFFERS](PEERS[0], b"never judged")
    assert listener.prices == []


async def test_bids_are_kept_while_they_live():
    listener = Listener()
    bid = BUYER.sign(a_bid(expires_at=NOW + 1_000))
    assert listener.hear(pack_batch([bid]), wire.TOPIC_BIDS) is Verdict.ACCEPT
    assert list(listener.intake.bids_heard) == [bid.id]
    listener.clock.now += 1_000
    late = BUYER.sign(a_bid(bid_id=b"z" * 16, issued_at=listener.clock.now, expires_at=NOW + 9_000))
    listener.hear(pack_batch([late]), wire.TOPIC_BIDS)
    assert list(listener.intake.bids_heard) == [late.id]


async def test_a_peer_that_hands_in_many_bids_pushes_out_its_own():
    listener = Listener()
    listener.intake.bids_heard = HeardBids(most=5)
    honest = a_signer("honest").sign(a_bid(requester=a_signer("honest").key))
    listener.network.judges[wire.TOPIC_BIDS](PEERS[1], pack_batch([honest]))
    for number in range(9):
        stranger = a_signer(f"s{number}")
        listener.hear(pack_batch([stranger.sign(a_bid(requester=stranger.key))]), wire.TOPIC_BIDS)
    assert len(listener.intake.bids_heard) == 5
    assert honest.id in list(listener.intake.bids_heard)


def test_our_own_offers_come_the_same_way():
    listener = Listener()
    assert listener.intake.take(SELLER.sign(an_offer())) is Intake.ADDED
    assert listener.intake.take(SELLER.sign(an_offer())) is Intake.KNOWN


async def test_whoever_waits_is_woken_by_news_only():
    listener, woken = Listener(), trio.Event()

    async def wait() -> None:
        await listener.intake.wait_change()
        woken.set()

    listener.intake.take(SELLER.sign(an_offer(version=5)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        listener.intake.take(SELLER.sign(an_offer(version=4)))
        await trio.testing.wait_all_tasks_blocked()
        assert not woken.is_set()
        listener.intake.take(SELLER.sign(an_offer(version=6)))
        with trio.fail_after(5):
            await woken.wait()
