"""What shapes a decision besides the offers: quotes in hand, rivals about to come, and nothing else."""

from __future__ import annotations

import random

from msgspec.structs import replace

from market.decision import MOST_DISPLACED, decide, requote
from market.offer_book import OfferBook
from market.records import Bid, Quote, Requirements
from market.rivals import FEW
from market.signing import Verified
from tests.fakes.samples import NOW, a_bid, a_quote, a_signer, an_ask, offered_by, some_limits

SELLERS = [a_signer(f"s{number}") for number in range(12)]
OFFERS = [offered_by(seller, price=100 + number, free_slots=1) for number, seller in enumerate(SELLERS)]


def a_book() -> OfferBook:
    book = OfferBook(max_skew_ms=60_000)
    for offer in OFFERS:
        book.take(offer, NOW)
    return book


def rivals(count: int) -> list[Verified[Bid]]:
    luck = random.Random(4)
    return [
        (signer := a_signer(f"rival{number}")).sign(a_bid(requester=signer.key, bid_id=luck.randbytes(16)))
        for number in range(count)
    ]


def quote(number: int, price: int, **changes: object) -> Verified[Quote]:
    return SELLERS[number].sign(a_quote(OFFERS[number], price=price, **changes))


def prices(matches: object) -> list[int]:
    return [match.price for match in matches]  # type: ignore[attr-defined]


def test_without_rivals_or_quotes_it_is_the_plain_list():
    assert prices(decide(a_book(), an_ask(), now=NOW).matches) == [100 + number for number in range(12)]


def test_a_few_rivals_change_nothing():
    plain = decide(a_book(), an_ask(), now=NOW).matches
    few = decide(a_book(), an_ask(), now=NOW, rivals=rivals(FEW)).matches
    assert [match.offer for match in few] == [match.offer for match in plain]


def test_among_many_rivals_everybody_asks_somebody_else_first():
    everybody = rivals(12)
    firsts = []
    for mine in everybody:
        others = [bid for bid in everybody if bid is not mine]
        ask = an_ask(bid_id=mine.record.bid_id, issued_at=mine.record.issued_at)
        firsts.append(decide(a_book(), ask, now=NOW, rivals=others).matches[0].offer.id)
    assert len(set(firsts)) == 12, "twelve slots and twelve bids, and two asked for the same"


def test_behind_what_rivals_leave_stands_everything_else():
    """They may not come after all: a bid must not give up because others might."""
    found = decide(a_book(), an_ask(), now=NOW, rivals=rivals(40)).matches
    assert sorted(prices(found)) == [100 + number for number in range(12)]


def test_the_book_is_as_it_was():
    book = a_book()
    before = sorted(book.index.rows())
    decide(book, an_ask(), now=NOW, rivals=rivals(40))
    assert sorted(book.index.rows()) == before


def test_a_quote_moves_its_offer_up_and_lowers_what_is_set_aside():
    matches = decide(a_book(), an_ask(), now=NOW, quotes=[quote(5, 99)]).matches
    assert (matches[0].offer, matches[0].price) == (OFFERS[5], 99)
    assert matches[0].quote is not None
    assert matches[0].cap < decide(a_book(), an_ask(), now=NOW).matches[0].cap


def test_quotes_that_do_not_count():
    other_bid, expired, dearer = quote(5, 1, bid_id=b"x" * 16), quote(6, 1, expires_at=NOW), quote(7, 5_000)
    foreign = SELLERS[1].sign(replace(a_quote(OFFERS[0], price=1), provider=SELLERS[1].key))
    plain = decide(a_book(), an_ask(), now=NOW).matches
    again = requote(plain, an_ask(), [other_bid, expired, dearer, foreign], NOW)
    assert prices(again) == prices(plain)


def test_of_two_quotes_for_one_offer_the_lower_counts():
    assert prices(decide(a_book(), an_ask(), now=NOW, quotes=[quote(5, 98), quote(5, 97)]).matches)[0] == 97


def test_a_rival_that_asks_for_something_else_is_none():
    elsewhere = [
        (signer := a_signer(f"else{n}")).sign(
            a_bid(requester=signer.key, bid_id=bytes([n]) * 16, requirements=Requirements(regions=("moon",)))
        )
        for n in range(30)
    ]
    found = decide(a_book(), an_ask(limits=some_limits()), now=NOW, rivals=elsewhere).matches
    assert prices(found) == [100 + number for number in range(12)]


def test_invented_bids_push_nobody_far_up_the_prices():
    """Three hundred bids that nobody means, dated back, and offers from 100 to 400: half as dear again is the most."""
    book = OfferBook(max_skew_ms=60_000)
    for number in range(300):
        book.take(offered_by(a_signer(f"p{number}"), price=100 + number, free_slots=1), NOW)
    fakes = [
        (signer := a_signer(f"fake{n}")).sign(
            a_bid(requester=signer.key, bid_id=bytes([n]) * 16, issued_at=NOW - 9_000)
        )
        for n in range(250)
    ]
    first = decide(book, an_ask(issued_at=NOW), now=NOW, rivals=fakes).matches[0]
    assert first.price <= 100 * MOST_DISPLACED // 100
