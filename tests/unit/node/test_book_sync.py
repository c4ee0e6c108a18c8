"""Books exchanged with scripted peers: all have their turns, and bad answers cost those who give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import pytest
import trio
from trio.testing import MockClock

from market import codec
from market.errors import PeerFault
from market.records import Offer
from market.signing import Verified
from node import wire
from node.book_digest import LATER, BookView, read_question
from node.offer_intake import OfferIntake
from node.ports import PeerInfo, PeerUnreachable
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, a_signer, offered_by

PEERS = [a_signer(f"peer{number}").key for number in range(12)]
Answer = Callable[[bytes], bytes]


@cache
def offers(count: int, version: int = 1) -> tuple[Verified[Offer], ...]:
    return tuple(offered_by(a_signer(f"p{number}"), version=version, price=number) for number in range(count))


def in_order(count: int) -> list[Verified[Offer]]:
    return sorted(offers(count), key=lambda offer: offer.record.provider)


def showing(book: Iterable[Verified[Offer]], limit: int = wire.MAX_RESPONSE) -> Answer:
    """A peer with this book."""
    view = BookView(book)
    return lambda question: view.answer(read_question(question), limit=limit)


def forged(offer: Verified[Offer]) -> bytes:
    plain = codec.unpack(offer.raw)
    return codec.pack({**plain, "sig": bytes(64)})


class FarNetwork(RecordingNetwork):
    """A network on which an answer takes a moment."""

    async def request(
        self, peer: bytes, protocol: str, request: bytes, *, timeout: float, max_response: int = 65536
    ) -> bytes:
        await trio.sleep(0.02)
        return await super().request(peer, protocol, request, timeout=timeout, max_response=max_response)


class Joiner:
    """A node whose peers answer as scripted; ``asked`` says when each was."""

    def __init__(self, *peers: Answer) -> None:
        self.network, self.clock = FarNetwork(BUYER.key), SetClock()
        self.peers = dict(zip(PEERS, peers, strict=False))
        self.asked: list[tuple[float, bytes]] = []
        self.network.known = [a_peer(key) for key in self.peers]
        self.network.answer = self.answer
        self.intake = OfferIntake(self.network, self.clock)
        self.intake.register()

    def answer(self, peer: bytes, protocol: str, question: bytes) -> bytes:
        assert protocol == wire.PROTOCOL_BOOK
        assert len(question) <= wire.MAX_BOOK_REQUEST
        self.asked.append((trio.current_time(), peer))
        return self.peers[peer](question)

    async def catch_up(self, seconds: float = 0.5) -> None:
        with trio.move_on_after(seconds):
            await self.intake.catch_up_forever()

    @property
    def prices(self) -> list[int]:
        return sorted(offer.record.price for offer in self.intake.book.live(self.clock.now))

    def times(self, peer: bytes) -> list[float]:
        return [when for when, asked in self.asked if asked == peer]


def a_peer(key: bytes) -> PeerInfo:
    return PeerInfo(key=key, peer_id="x", addresses=(), rtt_us=1)


def away(_question: bytes) -> bytes:
    raise PeerUnreachable("away")


async def test_a_late_joiner_has_the_whole_book_at_once(autojump_clock: MockClock):
    joiner = Joiner(showing(offers(200)))
    await joiner.catch_up(0.1)
    assert joiner.prices == list(range(200))


async def test_several_peers_show_a_newcomer_different_pages(autojump_clock: MockClock):
    shown: list[bytes] = []

    def note(answer: Answer) -> Answer:
        def listen(question: bytes) -> bytes:
            page = answer(question)
            shown.extend(codec.unpack_list(page, limit=wire.MAX_RESPONSE)[1:])
            return page

        return listen

    joiner = Joiner(*[note(showing(offers(200), limit=12_000))] * 3)
    await joiner.catch_up(0.2)
    assert joiner.prices == list(range(200))
    assert {peer for _, peer in joiner.asked} == set(PEERS[:3])
    assert len(shown) <= 1.3 * 200


async def test_one_honest_peer_is_enough(autojump_clock: MockClock):
    joiner = Joiner(away, showing(()), showing(offers(100)), lambda question: LATER)
    await joiner.catch_up(1)
    assert joiner.prices == list(range(100))
    assert joiner.network.penalties == []


async def test_peers_that_keep_silent_do_not_keep_us_from_asking_others(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
):
    joiner = Joiner(*[away] * 5, showing(offers(10)))
    request = joiner.network.request

    async def hang(peer: bytes, protocol: str, question: bytes, *, timeout: float, max_response: int) -> bytes:
        if joiner.peers[peer] is away:
            await trio.sleep(timeout)
        return await request(peer, protocol, question, timeout=timeout, max_response=max_response)

    monkeypatch.setattr(joiner.network, "request", hang)
    await joiner.catch_up(3)
    assert joiner.prices == list(range(10))


async def test_every_peer_has_its_turn(autojump_clock: MockClock):
    joiner = Joiner(*[showing(offers(5))] * 8)
    await joiner.catch_up(3)
    assert {peer for _, peer in joiner.asked} == set(PEERS[:8])
    joiner.asked.clear()
    await joiner.catch_up(120)
    counts = [len(joiner.times(peer)) for peer in PEERS[:8]]
    assert max(counts) - min(counts) <= 1


async def test_agreeing_neighbours_are_asked_seldom(autojump_clock: MockClock):
    joiner = Joiner(*[showing(offers(50))] * 2)
    await joiner.catch_up(600)
    late = [when for when, _ in joiner.asked if when > 60]
    assert 40 <= len(late) <= 60


async def test_an_empty_market_is_asked_about_every_second(autojump_clock: MockClock):
    joiner = Joiner(showing(()))
    await joiner.catch_up(60)
    assert 50 <= len(joiner.asked) <= 60


async def test_whoever_connects_is_asked_soon(autojump_clock: MockClock):
    joiner = Joiner(showing(offers(5)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joiner.catch_up, 100)
        await trio.sleep(61.7)
        joiner.peers[PEERS[5]] = showing(offers(9))
        joiner.network.known.append(a_peer(PEERS[5]))
        await trio.sleep(1)
        assert joiner.prices == list(range(9))
        joiner.network.known.pop()
        await trio.sleep(15)
        joiner.peers[PEERS[5]] = showing(offers(12))
        joiner.network.known.append(a_peer(PEERS[5]))
        await trio.sleep(1)
        assert joiner.prices == list(range(12)), "a peer that comes back may know more"
        nursery.cancel_scope.cancel()


async def test_a_missed_offer_comes_with_the_next_exchange(autojump_clock: MockClock):
    joiner = Joiner(showing(offers(40)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(joiner.catch_up, 100)
        await trio.sleep(60)
        joiner.peers[PEERS[0]] = showing((*offers(41)[1:], offers(1, version=2)[0]))
        await trio.sleep(11)
        assert joiner.prices == list(range(41))
        assert {offer.record.version for offer in joiner.intake.book.live(NOW)} == {1, 2}
        nursery.cancel_scope.cancel()


async def test_a_withdrawn_offer_stays_dead(autojump_clock: MockClock):
    gone = offered_by(a_signer("p1"), version=2, withdrawn=True)
    joiner = Joiner(showing(offers(3)), showing((offers(3)[0], gone)))
    await joiner.catch_up(30)
    assert joiner.prices == [0, 2]
    assert codec.unpack(await joiner.network.handlers[wire.PROTOCOL_BOOK](PEERS[9], b""))[1:] == [
        offer.raw for offer in sorted((offers(3)[0], gone, offers(3)[2]), key=lambda offer: offer.record.provider)
    ]


async def test_what_has_expired_is_forgotten(autojump_clock: MockClock):
    joiner = Joiner()
    for offer in offers(3):
        joiner.intake.take(offer)
    joiner.clock.now += 60_000
    await joiner.catch_up()
    assert len(joiner.intake.book) == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"\xc1",
        codec.pack(5),
        codec.pack({}),
        codec.pack([5]),
        codec.pack([b"", [b"x"]]),
        codec.pack([b"", b"x"]),
        codec.pack([b"then", b"x"]),
        codec.pack([b"then"]),
        bytes(2**21),
    ],
)
async def test_a_book_that_is_none_costs_trust(autojump_clock: MockClock, answer: bytes):
    joiner = Joiner(lambda question: answer)
    await joiner.catch_up()
    assert [peer for peer, _ in joiner.network.penalties] == [PEERS[0]]
    assert joiner.prices == []


async def test_a_forged_offer_in_a_book_ends_its_reading(autojump_clock: MockClock):
    page = [offer.raw for offer in in_order(30)]
    page[12] = forged(in_order(30)[12])
    joiner = Joiner(lambda question: codec.pack([b"", *page]))
    await joiner.catch_up()
    assert set(joiner.prices) <= {offer.record.price for offer in in_order(30)[:12]}
    assert joiner.network.penalties == [(PEERS[0], "bad_signature")]


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 0], [0, 1, 2, 1]])
async def test_a_page_out_of_order_or_that_repeats_itself_costs_trust(autojump_clock: MockClock, order: list[int]):
    page = [in_order(3)[place].raw for place in order]
    joiner = Joiner(lambda question: codec.pack([b"", *page]))
    await joiner.catch_up()
    assert joiner.network.penalties == [(PEERS[0], "not_asked")]


async def test_more_than_the_page_says_or_than_was_asked_for_costs_trust(autojump_clock: MockClock):
    first, second, third = in_order(3)
    pages = {b"": [second.record.provider, first.raw, third.raw]}
    joiner = Joiner(lambda question: codec.pack(pages[read_question(question).after]))
    await joiner.catch_up()
    assert joiner.network.penalties == [(PEERS[0], "not_asked")]
    then = second.record.provider + b"m0"
    repeated = {b"": [then, first.raw, second.raw], then: [b"", first.raw]}
    joiner = Joiner(lambda question: codec.pack(repeated[read_question(question).after]))
    await joiner.catch_up()
    assert joiner.network.penalties == [(PEERS[0], "not_asked")]


async def test_a_book_without_end_is_put_down_again(autojump_clock: MockClock):
    """Each page is in order, says that there is more, and is a little longer than no page at all."""
    source = iter(in_order(3) * 1000)

    def more(question: bytes) -> bytes:
        after = read_question(question).after
        return codec.pack([after + b"\0", b"no envelope" if not after else next(source).raw])

    joiner = Joiner(more)
    await joiner.catch_up(0.4)
    assert len(joiner.asked) == 1
    assert len(joiner.network.penalties) == 1

    count = 0

    def honest_but_slow(question: bytes) -> bytes:
        nonlocal count
        count += 1
        later = [offer for offer in in_order(200) if offer.record.provider > read_question(question).after[:32]]
        return codec.pack([later[0].record.provider + b"m0", later[0].raw])

    joiner = Joiner(honest_but_slow)
    await joiner.catch_up(1)
    assert 1 < count <= 32
    assert joiner.network.penalties == []


async def test_offers_from_the_far_future_cost_trust_by_this_way_too(autojump_clock: MockClock):
    far = offered_by(a_signer("p1"), issued_at=NOW + 10**9, expires_at=NOW + 10**9 + 1)
    joiner = Joiner(showing([far]))
    await joiner.catch_up()
    assert joiner.network.penalties == [(PEERS[0], "far_future")]


async def test_a_question_of_no_known_form_is_the_peers_fault():
    joiner = Joiner()
    for question in (b"\xc1", codec.pack([b""]), codec.pack([b"", bytes(7)])):
        with pytest.raises(PeerFault):
            await joiner.network.handlers[wire.PROTOCOL_BOOK](PEERS[0], question)


async def test_an_answer_is_never_larger_than_it_may_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "MAX_RESPONSE", 10_000)
    joiner = Joiner()
    for offer in offers(60):
        joiner.intake.take(offer)
    answer = await joiner.network.handlers[wire.PROTOCOL_BOOK](PEERS[0], b"")
    assert 5_000 < len(answer) <= 10_000
