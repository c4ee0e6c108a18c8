"""The auction's list: best first, ties by hash, one line per owner as far as can be told, terms that add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market import money
from market.ask import Ask, JobFacts
from market.compiler import BITS
from market.knowledge import Known
from market.matching import MAX_SHORTLIST, Shortlist, shortlist
from market.neighbourhood import MAX_PER_PREFIX, MAX_PER_RELAY
from market.offer_book import OfferBook
from market.offer_row import Row, mix
from market.records import Offer, Requirements
from market.signing import Verified
from market.strategies import STRATEGIES
from tests.fakes.samples import NOW, a_refusal, a_signer, an_ask, offered_by, some_limits

HOUR = 3_600_000
PUBLIC = "/ip4/198.51.100.7/tcp/1/p2p/x"


def book_of(*offers: Verified[Offer]) -> OfferBook:
    book = OfferBook(max_skew_ms=60_000)
    for offer in offers:
        book.take(offer, NOW)
    return book


def look(book: OfferBook, ask: Ask | None = None, *, now: int = NOW, size: int = MAX_SHORTLIST) -> Shortlist:
    return shortlist(book, ask or an_ask(), now=now, size=size)


def prices(found: Shortlist) -> list[int]:
    return [match.offer.record.price for match in found.matches]


def at(name: str, *addresses: str, price: int = 5) -> Verified[Offer]:
    return offered_by(a_signer(name), price=price, addresses=addresses)


def test_the_cheapest_comes_first():
    found = look(book_of(*(offered_by(a_signer(f"p{price}"), price=price) for price in (300, 100, 200))))
    assert prices(found) == [100, 200, 300]
    assert found.considered == 3


def test_what_is_set_aside_is_the_tag_for_the_longest_duration():
    book = book_of(offered_by(a_signer("p"), price=97_223, free_slots=2))
    (match,) = look(book, an_ask(requirements=Requirements(slots=2))).matches
    assert match.cap == money.amount_due(97_223, 2 * HOUR)


def test_the_terms_add_up_to_the_expected_cost():
    seller = a_signer("p")
    book = book_of(offered_by(seller, price=97_223, speed=900))
    book.know(seller.key, Known(failure=37, link_mbps=77, opening=1_234))
    job = JobFacts(max_ms=HOUR, work_ms=600_000, image="x@sha256:1", image_mib=3_001, moved_mib=517, waiting=88_001)
    (match,) = look(book, an_ask(job=job)).matches
    assert sum(match.cost) == match.expected_cost
    assert all(term > 0 for term in match.cost)
    assert match.cost.opening == 1_234
    assert match.expected_ms == 600_000 * 1000 // 900


@given(price=st.integers(0, 10**7), failure=st.integers(0, 1000), moved=st.integers(0, 10**6), ms=st.integers(1, 10**8))
def test_computing_never_looks_dearer_than_what_is_set_aside(price: int, failure: int, moved: int, ms: int):
    seller = a_signer("p")
    book = book_of(offered_by(seller, price=price))
    book.know(seller.key, Known(failure=failure))
    job = JobFacts(max_ms=ms, moved_mib=moved, waiting=12_345)
    (match,) = look(book, an_ask(limits=some_limits(max_price=10**7), job=job)).matches
    assert match.cost.compute == match.cap
    assert min(match.cost) >= 0
    assert sum(match.cost) == match.expected_cost


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_finds_its_own_best(strategy: str):
    """Three machines of one price class, each the best in one way."""
    sellers = {name: a_signer(name) for name in ("cheap", "quick", "proven")}
    book = book_of(
        offered_by(sellers["cheap"], gpu="RTX3090", price=80_000, speed=460),
        offered_by(sellers["quick"], gpu="H100", price=130_000, speed=3_170),
        offered_by(sellers["proven"], gpu="RTX3090", price=85_000, speed=460),
    )
    book.know(sellers["cheap"].key, Known(reputation=700))
    book.know(sellers["quick"].key, Known(reputation=650))
    book.know(sellers["proven"].key, Known(reputation=1000))
    best = look(book, an_ask(weights=STRATEGIES[strategy])).matches[0]
    wanted = {"lowest_cost": "cheap", "best_performance": "quick", "balanced": "proven", "high_availability": "proven"}
    assert best.offer.signer == sellers[wanted[strategy]].key


def test_a_dearer_card_wins_when_it_is_so_quick_that_the_job_costs_less():
    slow = offered_by(a_signer("slow"), gpu="RTX3090", price=50_000, speed=460)
    fast = offered_by(a_signer("fast"), gpu="H100", price=150_000, speed=3_170)
    without = an_ask(job=JobFacts(max_ms=HOUR))
    knowing = an_ask(job=JobFacts(max_ms=HOUR, work_ms=600_000))
    assert prices(look(book_of(slow, fast), without)) == [50_000, 150_000]
    assert prices(look(book_of(slow, fast), knowing)) == [150_000, 50_000]


def test_a_machine_that_has_the_image_beats_one_a_little_cheaper():
    cold = offered_by(a_signer("cold"), price=100_000)
    warm = offered_by(a_signer("warm"), price=101_000, images=("sha256:abc",))
    job = JobFacts(max_ms=600_000, image="trainer@sha256:abc", image_mib=20_000)
    assert prices(look(book_of(cold, warm), an_ask(job=job))) == [101_000, 100_000]
    assert prices(look(book_of(cold, warm), an_ask(job=replace(job, image="other@sha256:def")))) == [100_000, 101_000]


def test_equal_scores_are_ordered_by_a_hash_that_differs_from_bid_to_bid():
    offers = [offered_by(a_signer(f"p{number}")) for number in range(8)]
    winners = set()
    for number in range(64):
        ask = an_ask(bid_id=number.to_bytes(8, "big") * 2)
        found = [match.offer for match in look(book_of(*offers), ask).matches]
        assert found == sorted(offers, key=lambda one, n=number: (mix(int.from_bytes(one.id[:8], "big") ^ n), one.id))
        winners.add(found[0].id)
    assert len(winners) == 8, "one provider wins every tie"


def test_a_provider_has_one_line_and_it_is_its_best():
    one = a_signer("one")
    offers = [offered_by(one, machine=f"m{price}", price=price) for price in (120, 110, 130)]
    assert prices(look(book_of(*offers, offered_by(a_signer("two"), price=125)))) == [110, 125]


def test_one_owner_with_many_machines_does_not_hide_the_others():
    """More lines of one owner than the list is long: the search goes on until the list is full."""
    crowd = [offered_by(a_signer("crowd"), machine=f"m{number}", price=number) for number in range(60)]
    others = [offered_by(a_signer(f"p{number}"), price=1_000 + number) for number in range(5)]
    assert prices(look(book_of(*crowd, *others))) == [0, 1_000, 1_001, 1_002, 1_003, 1_004]


def test_a_network_has_two_lines():
    assert MAX_PER_PREFIX == 2
    hosts = ("203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.114.4", "172.217.0.1", "172.217.0.2", "172.217.0.3")
    offers = [at(host, f"/ip4/{host}/tcp/1/p2p/x", price=number) for number, host in enumerate(hosts, 1)]
    assert prices(look(book_of(*offers))) == [1, 2, 4, 5, 6]


def test_a_network_of_the_other_kind_has_two_lines_too():
    hosts = ("2001:db8:7:1::1", "2001:db8:7:2::1", "2001:db8:7:3::1", "2001:db8:8::1")
    offers = [at(host, f"/ip6/{host}/tcp/1/p2p/x", price=number) for number, host in enumerate(hosts, 1)]
    assert prices(look(book_of(*offers))) == [1, 2, 4]


def test_strangers_that_claim_its_network_do_not_push_out_who_is_known():
    known, strangers = at("known", PUBLIC, price=9), [at(f"s{n}", PUBLIC, price=n) for n in range(3)]
    book = book_of(known, *strangers)
    assert prices(look(book)) == [0, 1]
    book.know(a_signer("known").key, Known(dealt=True))
    assert prices(look(book)) == [0, 1, 9]


def test_a_relay_has_eight_lines():
    offers = [
        at(f"p{number}", "/ip4/198.51.100.7/tcp/1/p2p/RELAY/p2p-circuit/p2p/x", price=number) for number in range(12)
    ]
    assert prices(look(book_of(*offers))) == list(range(MAX_PER_RELAY))


@pytest.mark.parametrize(
    "host",
    [f"/ip4/{ip}" for ip in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "172.31.255.1", "100.64.0.1")]
    + ["/ip4/169.254.1.1", "/ip6/fd00:1:2:3::1", "/ip6/fe80:1:2:3::1"],
)
def test_private_addresses_say_nothing_about_the_owner(host: str):
    offers = [at(f"{host}-{number}", f"{host}/tcp/{number}/p2p/x") for number in (1, 2, 3)]
    assert len(look(book_of(*offers)).matches) == 3


def test_the_first_public_address_counts_and_junk_does_not():
    offers = [at("a", "/ip4/10.0.0.1/tcp/1", PUBLIC), at("b", "junk", PUBLIC), at("c", "", PUBLIC)]
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
    assert prices(look(book, now=NOW + 5)) == [3]


def test_more_words_than_a_mask_has_bits_change_nothing():
    """Regions are chosen by strangers: those that find no bit are compared as words."""
    crowd = [offered_by(a_signer(f"r{number}"), region=f"r{number}", price=1) for number in range(BITS + 20)]
    late = offered_by(a_signer("late"), region="zz-last", price=7)
    book = book_of(*crowd, late)
    assert prices(look(book, an_ask(requirements=Requirements(regions=("zz",))))) == [7]
    assert prices(look(book, an_ask(requirements=Requirements(regions=(f"r{BITS + 19}",))))) == [1]
    assert prices(look(book, an_ask(requirements=Requirements(regions=("nowhere",))))) == []


def test_an_empty_book_gives_an_empty_list():
    found = look(book_of())
    assert (found.matches, found.considered) == ((), 0)


def test_a_thousand_keys_of_one_network_are_passed_over_without_a_look_at_each(monkeypatch: pytest.MonkeyPatch):
    crowd = [at(f"c{number}", f"/ip4/198.51.100.{number % 250}/tcp/{number}") for number in range(1_000)]
    honest = [at(f"h{number}", f"/ip4/203.0.{number}.1/tcp/1", price=100 + number) for number in range(20)]
    book, looks = book_of(*crowd, *honest), []
    look_up = book.look_up

    def note(handle: int) -> tuple[Verified[Offer], Row]:
        looks.append(handle)
        return look_up(handle)

    monkeypatch.setattr(book, "look_up", note)
    assert prices(look(book)) == [5, 5, *range(100, 114)]
    assert len(looks) < 100
