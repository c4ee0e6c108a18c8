"""The auction's list: cheapest first, ties by hash, one line per owner as far as an owner can be told."""

from __future__ import annotations

from market import money
from market.feasibility import Limits
from market.matching import MAX_PER_PREFIX, MAX_SHORTLIST, Shortlist, rank, shortlist, transcript_of
from market.offer_book import OfferBook
from market.records import Bid, Offer, Requirements
from market.signing import Verified, digest
from tests.fakes.samples import NOW, a_bid, a_refusal, a_signer, offered_by, some_limits


def book_of(*offers: Verified[Offer]) -> OfferBook:
    book = OfferBook(max_skew_ms=60_000)
    for offer in offers:
        book.take(offer, NOW)
    return book


def look(book: OfferBook, bid: Bid | None = None, limits: Limits | None = None, **changes: int) -> Shortlist:
    given = {"now": NOW, "max_duration_ms": 3_600_000, **changes}
    return shortlist(book, bid or a_bid(), limits or some_limits(), **given)


def prices(found: Shortlist) -> list[int]:
    return [match.offer.record.price for match in found.matches]


def test_the_cheapest_comes_first():
    book = book_of(*(offered_by(a_signer(f"p{price}"), price=price) for price in (300, 100, 200)))
    found = look(book)
    assert prices(found) == [100, 200, 300]
    assert [match.score for match in found.matches] == [100, 200, 300]
    assert found.considered == 3


def test_the_expected_cost_is_what_the_job_costs_at_most():
    book = book_of(offered_by(a_signer("p"), price=97_223, free_slots=2))
    found = look(book, a_bid(requirements=Requirements(slots=2)))
    assert found.matches[0].expected_cost == money.amount_due(97_223, 2 * 3_600_000)


def test_equal_prices_are_ordered_by_a_hash_that_differs_from_bid_to_bid():
    offers = [offered_by(a_signer(f"p{number}")) for number in range(8)]
    winners = set()
    for number in range(64):
        bid = a_bid(bid_id=number.to_bytes(16, "big"))
        found = look(book_of(*offers), bid)
        expected = sorted(offers, key=lambda offer, bid=bid: (digest(offer.id, bid.bid_id), offer.id))
        assert [match.offer for match in found.matches] == expected
        winners.add(expected[0].id)
    assert len(winners) == 8, "one provider wins every tie"


def test_rank_is_price_then_hash_then_id():
    offer, bid = offered_by(a_signer("p")), a_bid()
    assert rank(offer, bid) == (offer.record.price, digest(offer.id, bid.bid_id), offer.id)


def test_a_provider_has_one_line_and_it_is_its_best():
    one = a_signer("one")
    offers = [offered_by(one, machine=f"m{price}", price=price) for price in (120, 110, 130)]
    found = look(book_of(*offers, offered_by(a_signer("two"), price=125)))
    assert prices(found) == [110, 125]


def test_a_network_has_two_lines():
    def at(name: str, address: str, price: int) -> Verified[Offer]:
        return offered_by(a_signer(name), price=price, addresses=(f"/ip4/{address}/tcp/1/p2p/x",))

    found = look(
        book_of(
            at("a", "203.0.113.1", 1),
            at("b", "203.0.113.2", 2),
            at("c", "203.0.113.3", 3),
            at("d", "203.0.114.4", 4),
            at("e", "172.217.0.1", 5),
            at("f", "172.217.0.2", 6),
            at("g", "172.217.0.3", 7),
        )
    )
    assert MAX_PER_PREFIX == 2
    assert prices(found) == [1, 2, 4, 5, 6]


def test_private_addresses_say_nothing_about_the_owner():
    hosts = ("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "172.31.255.1")
    offers = [
        offered_by(a_signer(f"{host}-{number}"), addresses=(f"/ip4/{host}/tcp/{number}/p2p/x",))
        for host in hosts
        for number in (1, 2, 3)
    ]
    assert len(look(book_of(*offers)).matches) == 15


def test_the_first_public_address_counts_and_junk_does_not():
    def at(name: str, *addresses: str) -> Verified[Offer]:
        return offered_by(a_signer(name), addresses=addresses)

    public = "/ip4/198.51.100.7/tcp/1/p2p/x"
    offers = [at("a", "/ip4/10.0.0.1/tcp/1", public), at("b", "junk", public), at("c", "", public)]
    assert len(look(book_of(*offers)).matches) == 2


def test_the_list_has_a_greatest_length():
    offers = [offered_by(a_signer(f"p{number}"), price=number) for number in range(MAX_SHORTLIST + 4)]
    assert prices(look(book_of(*offers))) == list(range(MAX_SHORTLIST))
    assert prices(look(book_of(*offers), size=3)) == [0, 1, 2]
    assert prices(look(book_of(*offers), size=0)) == []


def test_only_what_fits_and_lives_is_listed():
    fits = offered_by(a_signer("fits"), price=3)
    dear = offered_by(a_signer("dear"), price=200_001)
    dying = offered_by(a_signer("dying"), price=1, expires_at=NOW + 5)
    sold_out = offered_by(a_signer("sold"), price=2)
    book = book_of(fits, dear, dying, sold_out)
    book.learn(a_refusal(provider=sold_out.record.provider, version=1, free_slots=0), "m0")
    found = look(book, now=NOW + 5)
    assert prices(found) == [3]
    assert found.considered == 3


def test_the_transcript_commits_to_the_set_and_not_to_its_order():
    offers = [offered_by(a_signer(f"p{number}")) for number in range(5)]
    whole = transcript_of(offers)
    assert transcript_of(reversed(offers)) == whole
    assert transcript_of(iter(offers)) == whole
    assert transcript_of(offers[1:]) != whole
    assert transcript_of([]) != bytes(32)
    assert look(book_of(*offers)).transcript == whole


def test_offers_that_do_not_fit_are_in_the_transcript_too():
    fits, dear = offered_by(a_signer("fits")), offered_by(a_signer("dear"), price=10**9)
    assert look(book_of(fits, dear)).transcript == transcript_of([fits, dear])


def test_an_empty_book_gives_an_empty_list():
    found = look(book_of())
    assert (found.matches, found.considered) == ((), 0)
