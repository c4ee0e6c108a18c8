"""The listening side: everything verified, everything bounded, and a late joiner catches up."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from market import codec
from market.offer_book import Intake
from market.records import Offer
from market.signing import Verified, verify
from node import wire
from node.admission import pack_batch
from node.offer_intake import OfferIntake
from node.ports import PeerInfo, PeerUnreachable, Verdict
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, a_signer, an_offer, offered_by

PEERS = [a_signer(f"peer{number}").key for number in range(5)]


class Listener:
    """An intake with its network and its clock."""

    def __init__(self) -> None:
        self.network, self.clock = RecordingNetwork(BUYER.key), SetClock()
        self.intake = OfferIntake(self.network, self.clock)
        self.intake.register()

    def hear(self, message: bytes, topic: str = wire.TOPIC_OFFERS, *, deliver: bool = True) -> Verdict:
        verdict = self.network.judges[topic](PEERS[0], message)
        if verdict is Verdict.ACCEPT and deliver:
            self.network.deliveries[topic](PEERS[0], message)
        return verdict

    async def catch_up(self, seconds: float = 0.5) -> None:
        with trio.move_on_after(seconds):
            await self.intake.catch_up_forever()

    @property
    def prices(self) -> list[int]:
        return sorted(offer.record.price for offer in self.intake.book.live(self.clock.now))


def some_offers(count: int) -> list[Verified[Offer]]:
    return [offered_by(a_signer(f"p{number}"), price=number) for number in range(count)]


def peer(key: bytes) -> PeerInfo:
    return PeerInfo(key=key, peer_id="x", addresses=(), rtt_us=1)


def a_book(*offers: Verified[Offer]) -> bytes:
    return codec.pack([codec.pack([offer.raw]) for offer in offers])


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


async def test_bids_are_kept_while_they_live_and_only_so_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("node.offer_intake._BIDS_KEPT", 5)
    listener = Listener()
    for number in range(9):
        bid = BUYER.sign(a_bid(bid_id=bytes([number]) * 16, expires_at=NOW + 1_000))
        assert listener.hear(pack_batch([bid]), wire.TOPIC_BIDS) is Verdict.ACCEPT
    heard = [bid.record.bid_id[0] for bid in listener.intake.bids_heard.values()]
    assert heard == [4, 5, 6, 7, 8]
    listener.clock.now += 1_000
    late = BUYER.sign(a_bid(bid_id=b"z" * 16, issued_at=listener.clock.now, expires_at=NOW + 9_000))
    listener.hear(pack_batch([late]), wire.TOPIC_BIDS)
    assert list(listener.intake.bids_heard) == [late.id]


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


async def test_a_late_joiner_asks_for_books(autojump_clock: MockClock):
    listener = Listener()
    listener.network.known = [peer(key) for key in PEERS]
    listener.network.answer = lambda *_asked: a_book(*some_offers(3))
    await listener.catch_up()
    assert listener.prices == [0, 1, 2]
    assert {asked for asked, _, _ in listener.network.requests} <= set(PEERS)


@pytest.mark.parametrize(
    "answer",
    [b"\xc1", codec.pack(5), codec.pack({}), codec.pack([5]), codec.pack([b"x"]), codec.pack([[b"x"]]), b"x" * 2**21],
)
async def test_a_book_that_is_none_costs_trust(autojump_clock: MockClock, answer: bytes):
    listener = Listener()
    listener.network.known = [peer(PEERS[0])]
    listener.network.answer = lambda *_asked: answer
    await listener.catch_up()
    assert [key for key, _ in listener.network.penalties] == [PEERS[0]]
    assert listener.prices == []


async def test_a_forged_offer_in_a_book_ends_its_reading(autojump_clock: MockClock):
    listener = Listener()
    listener.network.known = [peer(PEERS[0])]
    good, after = some_offers(2)
    forged = codec.unpack(good.raw)
    forged["sig"] = bytes(64)
    book = [codec.pack([good.raw]), codec.pack([codec.pack(forged)]), codec.pack([after.raw])]
    listener.network.answer = lambda *_asked: codec.pack(book)
    await listener.catch_up()
    assert listener.prices == [0]
    assert listener.network.penalties == [(PEERS[0], "bad_signature")]


async def test_a_peer_that_is_away_is_asked_again(autojump_clock: MockClock):
    listener, calls = Listener(), 0

    def sometimes(*_asked: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise PeerUnreachable("away")
        return a_book(*some_offers(1))

    listener.network.known, listener.network.answer = [peer(PEERS[0])], sometimes
    await listener.catch_up(1.5)
    assert listener.prices == [0]
    assert listener.network.penalties == []


async def test_what_has_expired_is_forgotten(autojump_clock: MockClock):
    listener = Listener()
    for offer in some_offers(3):
        listener.intake.take(offer)
    listener.clock.now += 60_000
    await listener.catch_up()
    assert len(listener.intake.book) == 0


async def test_our_book_is_given_whole_and_can_be_read():
    listener, offers = Listener(), some_offers(20)
    for offer in offers:
        listener.intake.take(offer)
    batches = await listener.network.ask(PEERS[0], wire.PROTOCOL_BOOK, b"")
    assert sorted(verify(codec.unpack(raw)[0], Offer).id for raw in batches) == sorted(one.id for one in offers)


async def test_an_answer_is_never_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "MAX_RESPONSE", 10_000)
    listener = Listener()
    for offer in some_offers(60):
        listener.intake.take(offer)
    answer = await listener.network.handlers[wire.PROTOCOL_BOOK](PEERS[0], b"")
    assert 5_000 < len(answer) <= 10_000
