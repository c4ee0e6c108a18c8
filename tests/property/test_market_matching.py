"""The auction over random books: one winner whatever the order of arrival."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, cast

import pytest

from market.ask import Ask
from market.feasibility import Candidate, failures
from market.knowledge import Known
from market.matching import candidate_of, shortlist
from market.native_index import open_index
from market.neighbourhood import MAX_PER_PREFIX, neighbourhood
from market.offer_book import OfferBook
from market.offer_index import OfferIndex
from market.offer_row import rank, scan
from market.records import Offer, Requirements
from market.signing import Verified
from market.strategies import STRATEGIES
from tests.fakes.samples import NOW, a_signer, an_ask, offered_by

PROVIDERS = [a_signer(f"p{number}") for number in range(9)]
BOOKS, ORDERS = 200, 5


def random_offers(luck: random.Random) -> list[Verified[Offer]]:
    """Up to fifteen offers of nine providers that crowd on few prices and networks, so that ties are common."""
    return [
        offered_by(
            luck.choice(PROVIDERS),
            machine=f"m{number}",
            price=luck.choice([100, 100, 200, 200_000, 200_001]),
            free_slots=luck.choice([0, 1, 4]),
            cpu_milli=luck.choice([1_000, 4_000]),
            simulated=luck.random() < 0.1,
            expires_at=NOW + luck.choice([0, 1, 60_000]),
            addresses=(f"/ip4/203.0.{luck.choice([1, 2])}.{number}/tcp/1",) if luck.random() < 0.7 else (),
        )
        for number in range(luck.randrange(16))
    ]


@pytest.mark.parametrize("seed", range(BOOKS))
def test_the_order_of_arrival_decides_nothing(seed: int):
    luck = random.Random(seed)
    offers = random_offers(luck)
    ask = an_ask(bid_id=luck.randbytes(16), requirements=Requirements(cpu_milli=luck.choice([0, 2_000])))
    found = []
    for _ in range(ORDERS):
        luck.shuffle(offers)
        book = OfferBook(max_skew_ms=60_000)
        for offer in offers:
            book.take(offer, NOW - 1)
        found.append(shortlist(book, ask, now=NOW).matches)
    assert all([(one.offer, one.score) for one in listed] == [(o.offer, o.score) for o in found[0]] for listed in found)
    ranks = {book.offer_at(row.handle).id: rank(row, book.compile(ask, NOW)) for row in book.rows(NOW)}
    _check_against_the_rules(ask, [match.offer for match in found[0]], list(book.live(NOW)), ranks)


RELAY = "/ip4/198.51.100.9/tcp/1/p2p/{}/p2p-circuit"
PLACES: list[tuple[str, ...]] = [
    *((f"/ip4/203.0.{number}.1/tcp/1",) for number in range(4)),
    *((RELAY.format(name),) for name in ("12D3KooWA", "12D3KooWB")),
    (),
]


def a_crowded_book(luck: random.Random, index: OfferIndex) -> OfferBook:
    """Many keys in few places, some with machines in several; some known; some that moved, came back or went away."""
    book = OfferBook(max_skew_ms=60_000, index=index)
    signers = [a_signer(f"c{number}") for number in range(60)]
    for version in (1, 2):
        for number in range(luck.choice([10, 90, 160])):
            if version == 1 or luck.random() < 0.3:
                offer = offered_by(
                    luck.choice(signers),
                    machine=f"m{number % 5}",
                    version=version,
                    price=luck.choice([100, 100, 200, 300 + number]),
                    withdrawn=luck.random() < 0.1,
                    region=luck.choice(["eu-west", f"r{number}"]),
                    addresses=luck.choice(PLACES[: luck.choice([1, 3, 7])]),
                )
                book.take(offer, NOW - 1)
        for signer in luck.sample(signers, luck.choice([0, 6])):
            book.know(signer.key, Known(dealt=luck.random() < 0.7))
    return book


@pytest.mark.parametrize("seed", range(BOOKS))
def test_passing_over_crowds_at_once_finds_what_going_down_the_whole_ranking_finds(seed: int):
    for index in (OfferIndex(), open_index()):
        luck = random.Random(seed)
        book = a_crowded_book(luck, cast(OfferIndex, index))
        weights = STRATEGIES[luck.choice(["lowest_cost", "balanced"])]
        ask = an_ask(bid_id=luck.randbytes(16), weights=weights, requirements=Requirements(regions=("eu-west",)))
        size = luck.choice([1, 4, 16])
        found = [(match.score, match.row.handle) for match in shortlist(book, ask, now=NOW, size=size).matches]
        assert found == the_long_way(book, ask, size)


def the_long_way(book: OfferBook, ask: Ask, size: int) -> list[tuple[int, int]]:
    query, rows = book.compile(ask, NOW), list(book.rows(NOW))
    listed: list[tuple[int, int]] = []
    owners, places = set[int](), Counter[str]()
    for score, handle in scan(rows, query, len(rows)):
        offer, row = book.look_up(handle)
        place, most = neighbourhood(offer.record.addresses)
        fits = not failures(candidate_of(book, offer), ask.requirements, ask.limits)
        if len(listed) == size or row.provider in owners or not fits:
            continue
        if place and places[place] >= most and not book.known(offer.record.provider).dealt:
            continue
        places[place] += 1
        owners.add(row.provider)
        listed.append((score, handle))
    return listed


def _check_against_the_rules(
    ask: Ask, listed: list[Verified[Offer]], live: list[Verified[Offer]], ranks: dict[bytes, Any]
) -> None:
    assert listed == sorted(listed, key=lambda offer: ranks[offer.id])
    providers = Counter(offer.record.provider for offer in listed)
    networks = Counter(_network(offer) for offer in listed if _network(offer))
    assert all(count == 1 for count in providers.values())
    assert all(count <= MAX_PER_PREFIX for count in networks.values())
    for offer in live:
        fits = not failures(
            Candidate(offer=offer.record, free_slots=offer.record.free_slots), ask.requirements, ask.limits
        )
        if offer in listed:
            assert fits
        elif fits:
            # Whoever is missing stands behind a better line of its owner, or behind two of its network.
            better = [one for one in listed if ranks[one.id] < ranks[offer.id]]
            same_owner = any(one.record.provider == offer.record.provider for one in better)
            crowded = _network(offer) and sum(_network(one) == _network(offer) for one in better) >= MAX_PER_PREFIX
            assert same_owner or crowded


def _network(offer: Verified[Offer]) -> str:
    addresses = offer.record.addresses
    return addresses[0].split("/")[2].rpartition(".")[0] if addresses else ""
