"""Gangs: the best that may work together, asked for in one order everywhere."""

from __future__ import annotations

from market.gang import pick_gang
from market.matching import Match, shortlist
from market.offer_book import OfferBook
from tests.fakes.samples import NOW, a_signer, an_ask, offered_by


def the_list(*places: tuple[str, str]) -> list[Match]:
    """Offers of different owners, dearer from left to right, each as (region, address)."""
    book = OfferBook(max_skew_ms=60_000)
    for number, (region, host) in enumerate(places):
        addresses = (f"/ip4/{host}/tcp/1/p2p/x",) if host else ()
        book.take(offered_by(a_signer(f"p{number}"), price=100 + number, region=region, addresses=addresses), NOW)
    return list(shortlist(book, an_ask(), now=NOW).matches)


def prices(chosen: tuple[Match, ...] | None) -> list[int] | None:
    return None if chosen is None else sorted(match.price for match in chosen)


def test_the_best_are_taken_and_asked_for_in_the_order_of_their_keys():
    chosen = pick_gang(the_list(*[("eu", "")] * 5), 3, scattered=False)
    assert prices(chosen) == [100, 101, 102]
    assert chosen is not None
    keys = [match.offer.record.provider for match in chosen]
    assert keys == sorted(keys)


def test_all_or_none():
    assert pick_gang(the_list(*[("eu", "")] * 2), 3, scattered=False) is None


def test_who_refused_is_not_asked_again():
    found = the_list(*[("eu", "")] * 4)
    assert prices(pick_gang(found, 3, scattered=False, without={found[0].offer.record.provider})) == [101, 102, 103]


def test_scattered_machines_share_no_region_and_no_network():
    found = the_list(("eu", "203.0.113.1"), ("eu", "198.51.100.1"), ("us", "203.0.113.2"), ("asia", "192.0.2.1"))
    assert prices(pick_gang(found, 2, scattered=True)) == [100, 103]
    assert pick_gang(found, 4, scattered=True) is None


def test_the_dearer_first_choice_is_made_when_the_cheapest_shuts_out_the_rest():
    """The cheapest shares its region with one and its network with the other."""
    found = the_list(("eu", "203.0.113.1"), ("eu", "198.51.100.1"), ("us", "203.0.113.2"))
    assert prices(pick_gang(found, 2, scattered=True)) == [101, 102]


def test_what_is_not_known_counts_as_different():
    assert prices(pick_gang(the_list(("", ""), ("", ""), ("", "")), 3, scattered=True)) == [100, 101, 102]


def test_an_impossible_wish_ends():
    assert pick_gang(the_list(*[("eu", "")] * 16), 8, scattered=True) is None
