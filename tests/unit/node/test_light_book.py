"""Reading one peer's whole book: page by page, with patience, and never without end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from market import codec
from market.records import Offer
from market.signing import Verified, verify
from node import wire
from node.book_digest import LATER, BookView, read_question
from node.light_book import read_book, without
from node.light_check import Statement
from node.ports import PeerUnreachable
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, SELLER, a_signer, offered_by

OFFERS = [offered_by(a_signer(f"p{number}"), machine=f"m{number}") for number in range(40)]
LIMIT = 8_000
"""Small pages, so that a book has several."""


async def read(
    answer: Callable[[bytes], bytes], view: BookView | None = None, statement: Statement | None = None
) -> tuple[Statement, int]:
    """What is noted of a peer that answers like that, and how often it was asked."""
    network = RecordingNetwork(BUYER.key)

    def reply(peer: bytes, protocol: str, request: bytes) -> bytes:
        assert (peer, protocol) == (SELLER.key, wire.PROTOCOL_BOOK)
        return answer(request)

    network.answer = reply
    told = statement or Statement(SELLER.key)
    await read_book(network, told, SetClock(), _verify, view or BookView(()))
    return told, len(network.requests)


def _verify(raw: bytes) -> Verified[Offer]:
    return verify(raw, Offer)


def shows(*offers: Verified[Offer]) -> Callable[[bytes], bytes]:
    return lambda question: BookView(offers).answer(read_question(question), limit=LIMIT)


async def test_all_pages_are_read() -> None:
    told, asked = await read(shows(*OFFERS))
    assert {offer.id for offer in told.shown.values()} == {offer.id for offer in OFFERS}
    assert told.complete
    assert asked > 2


async def test_an_empty_book_is_a_whole_book() -> None:
    told, _ = await read(shows())
    assert (told.live, told.complete) == (0, True)


async def test_a_peer_that_wants_a_pause_gets_it(autojump_clock: MockClock) -> None:
    waits = 3

    def later(question: bytes) -> bytes:
        nonlocal waits
        waits -= 1
        return LATER if waits >= 0 else shows(*OFFERS[:3])(question)

    began = trio.current_time()
    told, _ = await read(later)
    assert (told.live, told.complete) == (3, True)
    assert trio.current_time() - began == 3


async def test_a_peer_that_always_wants_a_pause_is_left(autojump_clock: MockClock) -> None:
    told, asked = await read(lambda question: LATER)
    assert not told.complete
    assert asked < 200


async def test_a_book_without_end_is_left() -> None:
    def endless(question: bytes) -> bytes:
        after = read_question(question).after
        number = int.from_bytes(after[:4], "big") + 1 if after else 1
        return codec.pack([number.to_bytes(4, "big"), OFFERS[0].raw])

    told, asked = await read(endless)
    assert not told.complete
    assert asked < 200


@pytest.mark.parametrize("garbage", [b"", b"\xc1", codec.pack([b"x"]), codec.pack(5), codec.pack([1, 2])])
async def test_what_is_no_page_is_noted(garbage: bytes) -> None:
    told, asked = await read(lambda question: garbage)
    assert sum(told.forged.values()) == 1
    assert (told.complete, asked) == (False, 1)


async def test_a_peer_that_goes_away_half_way_is_no_silent_one() -> None:
    def leaves(question: bytes) -> bytes:
        if read_question(question).after:
            raise PeerUnreachable("gone")
        return shows(*OFFERS)(question)

    told, _ = await read(leaves)
    assert 0 < told.live < len(OFFERS)
    assert not told.complete
    with pytest.raises(PeerUnreachable):
        await read(_gone)


def _gone(_question: bytes) -> bytes:
    raise PeerUnreachable("gone")


async def test_a_second_look_fetches_only_what_is_asked_about_and_what_is_new() -> None:
    first, _ = await read(shows(*OFFERS))
    doubtful = frozenset({OFFERS[7].signer})
    asked: list[Any] = []

    def note(question: bytes) -> bytes:
        asked.append(question)
        return shows(*OFFERS)(question)

    again, _ = await read(note, without(first, doubtful))
    assert OFFERS[7].id in {offer.id for offer in again.shown.values()}
    assert again.complete
    assert again.live <= 3, "the rest is known"
    hidden, _ = await read(shows(*OFFERS[:7], *OFFERS[8:]), without(first, doubtful))
    assert OFFERS[7].id not in {offer.id for offer in hidden.shown.values()}
    assert hidden.complete
