"""What records and questions of strangers may cost the listening side of the market."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from market.records import Offer
from market.signing import Claim, Verified, read
from node import admission, offer_intake, wire
from node.admission import pack_batch
from node.book_digest import LATER, BookView, Question, read_question
from node.offer_intake import OfferIntake
from node.peer_budgets import BOOK_BYTES_RATE, BOOK_RATE, RECORD_RATE, Rate
from node.ports import PeerInfo, Verdict
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, a_signer, an_offer, offered_by

FORWARDER, OTHER = b"f" * 32, b"o" * 32


@pytest.fixture
def network() -> RecordingNetwork:
    return RecordingNetwork(BUYER.key)


@pytest.fixture
def intake(network: RecordingNetwork) -> OfferIntake:
    intake = OfferIntake(network, SetClock())  # type: ignore[arg-type]
    intake.register()
    return intake


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The records whose signatures were checked."""
    seen: list[bytes] = []
    check = Claim.check

    def note(claim: Claim[Any]) -> Verified[Any]:
        seen.append(claim.raw)
        return check(claim)

    monkeypatch.setattr(Claim, "check", note)
    return seen


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The records that were looked at."""
    seen: list[bytes] = []

    def note(raw: bytes, kind: Any, *, limit: int) -> Claim[Any]:
        seen.append(raw)
        return read(raw, kind, limit=limit)

    monkeypatch.setattr(admission, "read", note)
    return seen


def offers(first: int = 0, **changes: Any) -> Iterator[Verified[Offer]]:
    """New versions of one offer, without end."""
    version = first
    while True:
        version += 1
        yield SELLER.sign(an_offer(version=version, **changes))


def a_batch(source: Iterator[Verified[Offer]], count: int = wire.MAX_BATCH_RECORDS) -> bytes:
    return pack_batch([next(source) for _ in range(count)])


def hear(network: RecordingNetwork, message: bytes, forwarder: bytes = FORWARDER) -> Verdict:
    return network.judges[wire.TOPIC_OFFERS](forwarder, message)


async def test_one_forwarder_makes_us_check_no_more_than_its_share(
    network: RecordingNetwork, intake: OfferIntake, checked: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    source, seconds = offers(), 5
    for _ in range(seconds * 10):
        for _ in range(25):
            hear(network, a_batch(source))
        await trio.sleep(0.1)
    assert len(checked) <= RECORD_RATE.burst + RECORD_RATE.per_second * seconds
    assert intake.dropped["too_many_records"]
    assert network.penalties == []


async def test_what_one_forwarder_may_not_bring_another_may(
    network: RecordingNetwork, intake: OfferIntake, autojump_clock: trio.testing.MockClock
) -> None:
    source = offers()
    while hear(network, message := a_batch(source)) is Verdict.ACCEPT:
        pass
    assert hear(network, message) is Verdict.POSTPONE
    assert hear(network, message, OTHER) is Verdict.ACCEPT
    await trio.sleep(1)
    assert hear(network, a_batch(source)) is Verdict.ACCEPT


async def test_a_network_of_a_thousand_providers_may_post_at_once(
    network: RecordingNetwork, intake: OfferIntake, autojump_clock: trio.testing.MockClock
) -> None:
    source = offers()
    assert {hear(network, a_batch(source, 1)) for _ in range(1000)} == {Verdict.ACCEPT}


async def test_what_was_heard_before_is_free(
    network: RecordingNetwork, intake: OfferIntake, checked: list[bytes], autojump_clock: trio.testing.MockClock
) -> None:
    source = offers()
    known = [next(source) for _ in range(4)]
    for _ in range(2000):
        assert hear(network, pack_batch(known)) is Verdict.ACCEPT
    assert len(checked) == len(known)
    assert hear(network, a_batch(source)) is Verdict.ACCEPT


async def test_offers_and_bids_share_one_allowance(
    network: RecordingNetwork, intake: OfferIntake, autojump_clock: trio.testing.MockClock
) -> None:
    source = offers()
    while hear(network, a_batch(source)) is Verdict.ACCEPT:
        pass
    unknown = pack_batch([BUYER.sign(an_offer(provider=BUYER.key)) for _ in range(8)])
    assert network.judges[wire.TOPIC_BIDS](FORWARDER, a_batch(source)) is Verdict.POSTPONE
    assert network.judges[wire.TOPIC_BIDS](OTHER, unknown) is Verdict.REJECT


async def test_books_of_useless_offers_cost_no_check_and_a_bounded_number_of_looks(
    network: RecordingNetwork,
    intake: OfferIntake,
    checked: list[bytes],
    decoded: list[bytes],
    autojump_clock: trio.testing.MockClock,
) -> None:
    """As long as our book is empty we ask every second: a peer could show new expired offers each time."""
    network.known = [PeerInfo(key=FORWARDER, peer_id="x", addresses=(), rtt_us=1)]
    signers, seconds, version = [a_signer(f"p{number}") for number in range(500)], 10, iter(range(1, 10**6))

    def useless(*_asked: Any) -> bytes:
        dates = {"issued_at": NOW - 100, "expires_at": NOW - 1, "version": next(version)}
        return BookView(offered_by(signer, **dates) for signer in signers).answer(Question(), limit=wire.MAX_RESPONSE)

    network.answer = useless
    with trio.move_on_after(seconds):
        await intake.catch_up_forever()
    assert 128 <= len(decoded) <= 140 * (seconds + 1)
    assert checked == []
    assert network.penalties == []


async def test_one_peer_makes_us_check_no_more_of_its_book_than_its_share(
    network: RecordingNetwork,
    intake: OfferIntake,
    checked: list[bytes],
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time it shows new versions of all its offers, so that none is useless."""
    monkeypatch.setattr(offer_intake, "BOOK_RECORD_RATE", rate := Rate(per_second=50.0, burst=300.0))
    network.known = [PeerInfo(key=FORWARDER, peer_id="x", addresses=(), rtt_us=1)]
    signers, seconds, version = [a_signer(f"p{number}") for number in range(400)], 20, iter(range(1, 10**6))

    def newer(*_asked: Any) -> bytes:
        offers = (offered_by(signer, version=next(version)) for signer in signers)
        return BookView(offers).answer(Question(), limit=wire.MAX_RESPONSE)

    network.answer = newer
    with trio.move_on_after(seconds):
        await intake.catch_up_forever()
    assert rate.burst <= len(checked) <= rate.burst + rate.per_second * seconds
    assert intake.dropped["too_many_records"]
    assert network.penalties == []


async def shown(network: RecordingNetwork, peer: bytes = OTHER) -> int:
    """How many offers a peer is shown that has none; -1 when it is told to come later."""
    return len(await network.ask(peer, wire.PROTOCOL_BOOK, b"")) - 1


async def test_the_book_is_looked_over_once_a_second(
    network: RecordingNetwork,
    intake: OfferIntake,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    looks: list[None] = []
    live = intake.book.live

    def note(now: int) -> Iterator[Verified[Offer]]:
        looks.append(None)
        return live(now)

    monkeypatch.setattr(intake.book, "live", note)
    intake.take(SELLER.sign(an_offer()))
    for number in range(100):
        assert await shown(network, number.to_bytes(32, "big")) == 1
    assert len(looks) == 1
    intake.take(SELLER.sign(an_offer(machine="another")))
    await trio.sleep(1.1)
    assert await shown(network) == 2


async def test_a_book_that_was_empty_a_moment_ago_is_not_shown_again(
    network: RecordingNetwork, intake: OfferIntake, autojump_clock: trio.testing.MockClock
) -> None:
    assert await shown(network) == 0
    intake.take(SELLER.sign(an_offer()))
    assert await shown(network) == 1


async def test_whoever_asks_too_often_is_told_to_come_later(
    network: RecordingNetwork, intake: OfferIntake, autojump_clock: trio.testing.MockClock
) -> None:
    intake.take(SELLER.sign(an_offer()))
    answers = [await network.handlers[wire.PROTOCOL_BOOK](FORWARDER, b"") for _ in range(200)]
    assert [answer == LATER for answer in answers] == [False] * int(BOOK_RATE.burst) + [True] * 190
    assert network.penalties == []
    for _ in range(60):  # an honest newcomer's pace
        assert await shown(network) == 1
        await trio.sleep(1)


async def test_all_together_are_shown_so_much_and_no_more(
    network: RecordingNetwork, intake: OfferIntake, autojump_clock: trio.testing.MockClock
) -> None:
    """Many keys, each within its own rate, would else have us send our book as fast as the line takes it."""
    for number in range(2_000):
        intake.take(offered_by(a_signer(f"p{number}"), machine="m" * 60))

    async def answer(number: int) -> bytes:
        return await network.handlers[wire.PROTOCOL_BOOK](number.to_bytes(32, "big"), b"")

    answers = [await answer(number) for number in range(300)]
    sent = sum(map(len, answers))
    assert BOOK_BYTES_RATE.burst / 2 < sent <= BOOK_BYTES_RATE.burst + len(answers) * len(LATER)
    assert answers[-1] == LATER
    assert network.penalties == []
    await trio.sleep(2 * len(answers[0]) / BOOK_BYTES_RATE.per_second)
    assert await answer(1_000) == answers[0]


async def test_an_agreeing_neighbour_is_shown_nothing(network: RecordingNetwork, intake: OfferIntake) -> None:
    offers = [offered_by(a_signer(f"p{number}")) for number in range(20)]
    for offer in offers:
        intake.take(offer)
    same, fewer = BookView(offers).question(), BookView(offers[1:]).question()
    assert read_question(same).have != read_question(fewer).have
    assert await network.ask(OTHER, wire.PROTOCOL_BOOK, same) == [b""]
    assert offers[0].raw in await network.ask(OTHER, wire.PROTOCOL_BOOK, fewer)
