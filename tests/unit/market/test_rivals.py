"""Rivals are played through in one order for all, on public knowledge, and leave no trace."""

from __future__ import annotations

import random
from typing import Any

import pytest

from market.ask import Ask
from market.decision import decide
from market.errors import InvalidRequest
from market.matching import shortlist
from market.offer_book import OfferBook
from market.offer_row import Query
from market.records import Bid, Requirements
from market.rivals import (
    FEW,
    MAX_OF_ONE,
    MAX_RIVALS,
    MOMENT_MS,
    Rival,
    compile_rivals,
    public_ask,
    replay,
    touching,
    turn_of,
)
from market.signing import Verified
from tests.fakes.samples import ESCROW, NOW, a_bid, a_signer, an_ask, offered_by, some_limits

SELLERS = [a_signer(f"seller{number}") for number in range(8)]
RIVALS = [a_signer(f"rival{number}") for number in range(12)]


def a_book(*slots: int, **changes: Any) -> OfferBook:
    """One offer per seller, at 100, 101, … with so many free slots each."""
    book = OfferBook(max_skew_ms=60_000)
    for number, free in enumerate(slots):
        offer = offered_by(SELLERS[number], price=100 + number, free_slots=free, total_slots=8, **changes)
        book.take(offer, NOW)
    return book


def bids(count: int, **changes: Any) -> list[Verified[Bid]]:
    return [
        RIVALS[number].sign(a_bid(requester=RIVALS[number].key, bid_id=bytes([number]) * 16, **changes))
        for number in range(count)
    ]


def state(book: OfferBook) -> list[tuple[int, int, int]]:
    return sorted((row.handle, row.price, row.free) for row in book.index.rows())


def prices(book: OfferBook, ask: Ask, rivals: list[Verified[Bid]]) -> list[int]:
    return [match.price for match in decide(book, ask, now=NOW, rivals=rivals).matches]


def asks(count: int) -> list[Ask]:
    return [an_ask(bid_id=bytes([number]) * 16, issued_at=NOW) for number in range(count)]


def test_those_who_know_of_each_other_ask_for_different_slots():
    book, everybody = a_book(2, 2, 2, 2), bids(8)
    first = [prices(book, ask, everybody)[0] for ask in asks(8)]
    assert sorted(first) == [100, 100, 101, 101, 102, 102, 103, 103]


def test_without_rivals_all_of_them_ask_for_the_same():
    book = a_book(2, 2, 2, 2)
    assert {prices(book, ask, [])[0] for ask in asks(8)} == {100}


def test_few_rivals_change_nothing():
    book = a_book(1, 1, 1)
    for ask in asks(FEW + 1):
        assert prices(book, ask, bids(FEW + 1)) == [100, 101, 102], "one of them is its own bid"
    assert any(prices(book, ask, bids(FEW + 2))[0] > 100 for ask in asks(FEW + 2))


def test_rivals_for_other_machines_are_not_counted():
    book = a_book(1, 1, 1)
    others = bids(12, requirements=Requirements(gpus=("A100",)))
    assert prices(book, an_ask(), others) == [100, 101, 102]


def test_what_is_left_comes_first_and_what_was_expected_to_be_taken_after_it():
    book, everybody = a_book(1, 1, 1, 1, 1, 1, 1, 1), bids(7)
    lists = [prices(book, ask, everybody) for ask in asks(7)]
    for one in lists:
        assert one[1] == 107, "the only slot that nobody is expected to take"
        assert sorted(one) == list(range(100, 108))
        assert one[2:] == sorted(one[2:])


def test_where_the_rivals_leave_nothing_the_plain_list_stands():
    book, everybody = a_book(1, 1), bids(12)
    lists = [prices(book, ask, everybody) for ask in asks(12)]
    assert sorted(one[0] for one in lists)[-1] == 101
    assert all(sorted(one) == [100, 101] for one in lists)
    assert lists.count([100, 101]) == 11


def test_a_bid_that_wants_more_slots_than_are_left_goes_elsewhere():
    book = a_book(3, 8)
    two = Requirements(slots=2)
    everybody = bids(7, requirements=two)
    chosen = [
        prices(book, an_ask(bid_id=bid.record.bid_id, requirements=two, issued_at=NOW), everybody)[0]
        for bid in everybody
    ]
    assert chosen.count(100) == 1 + 2, "one takes two of three; the last two find nothing left and hope for the best"
    assert chosen.count(101) == 4


def test_who_bid_before_has_chosen_before_and_among_those_of_one_moment_nobody_chose_the_order():
    book = a_book(*[1] * 8)
    late = [bid.record.bid_id for bid in bids(8)[4:]]
    everybody = [*bids(4), *bids(8, issued_at=NOW + MOMENT_MS)[4:]]
    first = {ask.bid_id: prices(book, ask, everybody)[0] for ask in asks(4)}
    assert sorted(first.values()) == [100, 101, 102, 103]
    assert list(first.values()) != sorted(first.values()), "their numbers do not decide"
    second = [prices(book, an_ask(bid_id=one, issued_at=NOW + MOMENT_MS), everybody)[0] for one in late]
    assert sorted(second) == [104, 105, 106, 107]


def test_the_book_is_as_it_was():
    book = a_book(1, 2, 0, 3)
    before = state(book)
    for ask in asks(12):
        decide(book, ask, now=NOW, rivals=bids(12))
    assert state(book) == before


def test_the_book_is_as_it_was_also_when_something_breaks():
    book = a_book(1, 2, 3)
    before, mine = state(book), book.compile(an_ask(), NOW)

    def broken() -> list[Rival]:
        rivals = compile_rivals(book, an_ask(), bids(4), NOW)
        return [*rivals, ((NOW, b""), None)]  # type: ignore[list-item]

    with pytest.raises((AttributeError, TypeError)):
        replay(book.index, mine, turn_of(an_ask()), broken(), 4)
    assert state(book) == before


def test_the_order_in_which_they_were_heard_does_not_matter():
    book, everybody = a_book(1, 1, 2, 2), bids(10)
    for ask in asks(10):
        expected = prices(book, ask, everybody)
        for seed in range(4):
            heard = list(everybody)
            random.Random(seed).shuffle(heard)
            assert prices(book, ask, heard) == expected


def test_one_bid_id_counts_once_whoever_else_uses_it():
    mine = an_ask()
    copied = [signer.sign(a_bid(requester=signer.key, bid_id=b"x" * 16)) for signer in RIVALS]
    own = RIVALS[0].sign(a_bid(requester=RIVALS[0].key, bid_id=mine.bid_id))
    found = compile_rivals(a_book(1), mine, [*copied, own], NOW)
    assert [turn for turn, _ in found] == [turn_of(copied[0].record)]
    assert compile_rivals(a_book(1), mine, [own, *reversed(copied)], NOW) == found


def test_a_rival_shows_neither_cap_nor_lists_nor_its_place():
    bid = a_bid(strategy="high_availability", requirements=Requirements(slots=3))
    ask = public_ask(bid, some_limits(max_price=1, allow=(SELLERS[0].key,), max_rtt_us=5))
    assert ask.limits == some_limits(max_price=10**15, deny=(bid.requester,))
    assert ask.limits.escrow == ESCROW
    assert (ask.weights, ask.requirements.slots, ask.job.work_ms) == ((16, 8, 70, 0), 3, 0)


def test_nobody_is_expected_to_buy_from_itself():
    book, owner = a_book(1, 1), SELLERS[0]
    own = [owner.sign(a_bid(requester=owner.key, bid_id=bytes([number]) * 16)) for number in range(9)]
    rivals = compile_rivals(book, an_ask(), own, NOW)
    rows = [match.row for match in shortlist(book, an_ask(), now=NOW).matches]
    assert (touching(rows[:1], rivals), touching(rows, rivals)) == (0, 9)


def test_a_rival_whose_strategy_is_not_known_is_no_rival():
    odd = bids(2, strategy="from_the_future")
    assert compile_rivals(a_book(1), an_ask(), odd, NOW) == []
    with pytest.raises(InvalidRequest):
        public_ask(odd[0].record, some_limits())


def test_so_many_rivals_and_no_more():
    def flood(requesters: int) -> list[Verified[Bid]]:
        signers = [a_signer(f"flood{number}") for number in range(requesters)]
        return [
            signers[n % requesters].sign(a_bid(requester=signers[n % requesters].key, bid_id=n.to_bytes(16, "big")))
            for n in range(MAX_RIVALS + 9)
        ]

    assert len(compile_rivals(a_book(1), an_ask(), flood(50), NOW)) == MAX_RIVALS
    assert len(compile_rivals(a_book(1), an_ask(), flood(1), NOW)) == MAX_OF_ONE


def test_touching_counts_who_could_take_one_of_these():
    book = a_book(1, 1, gpu="NVIDIA A100")
    rivals = compile_rivals(book, an_ask(), [*bids(3), *bids(5, requirements=Requirements(slots=2))[3:]], NOW)
    rows = [match.row for match in shortlist(book, an_ask(), now=NOW).matches]
    assert touching(rows, rivals) == 3
    assert touching([], rivals) == 0


def test_where_the_rivals_take_all_it_is_known():
    book, everybody = a_book(1, 1), bids(8)
    left_out = [decide(book, ask, now=NOW, rivals=everybody).is_left_out for ask in asks(8)]
    assert left_out.count(False) == 2, "two slots for eight"
    assert not decide(book, asks(1)[0], now=NOW, rivals=[]).is_left_out


def test_nothing_fits_and_nothing_is_ranked():
    book = a_book(1, 1)
    mine: Query = book.compile(an_ask(limits=some_limits(max_price=1)), NOW)
    assert replay(book.index, mine, turn_of(an_ask()), compile_rivals(book, an_ask(), bids(9), NOW), 4) == []
