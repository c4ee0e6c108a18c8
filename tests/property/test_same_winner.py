"""Five nodes that heard the same things in another order choose the same winner, whatever engine each of them uses.

What they hear is a whole history: old versions after new ones, refreshes, withdrawals, machines that come back, words
of a provider about its free slots, and measurements. Only what really comes later does so: nobody is refused by an
offer that it has not heard of.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from market.ask import Ask, JobFacts
from market.knowledge import Known
from market.matching import shortlist
from market.native_index import AVAILABLE, NativeIndex
from market.offer_book import OfferBook
from market.offer_index import OfferIndex
from market.offer_row import scan
from market.records import Offer, Refusal, Requirements
from market.signing import Signer, Verified
from market.strategies import STRATEGIES
from tests.fakes.samples import NOW, a_refusal, a_signer, an_ask, offered_by, some_limits

BOOKS, NODES = 200, 5
ASKED_AT = NOW + 20_000
SELLERS = [a_signer(f"seller-{number}") for number in range(12)]
MODELS = ("NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB", "Tesla T4")
REGIONS = (("eu-west", "de"), ("eu-north", "se"), ("us-east", "us"))
HOUR = 3_600_000


def engines() -> list[Callable[[], Any]]:
    """The indexes that are there; the native one is not where no compiler was."""
    return [OfferIndex, NativeIndex] if AVAILABLE else [OfferIndex]


class Heard(NamedTuple):
    """Something a node learns of one machine. ``after``: the version it must have heard of before."""

    tell: Callable[[OfferBook], object]
    machine: tuple[bytes, str]
    version: int = 0
    after: int = 0


def offer_heard(offer: Verified[Offer]) -> Heard:
    record = offer.record
    return Heard(lambda book: book.take(offer, NOW), (record.provider, record.machine), version=record.version)


def refusal_heard(refusal: Refusal, machine: str) -> Heard:
    return Heard(lambda book: book.learn(refusal, machine), (refusal.provider, machine), after=refusal.version)


def history(luck: random.Random) -> list[Heard]:
    """Everything that is said of up to thirty machines."""
    heard = [one for number in range(luck.randrange(5, 31)) for one in machine_history(luck, f"m{number}")]
    for seller in SELLERS:
        facts = Known(
            reputation=luck.choice([1000, 900, 500]),
            rtt_us=luck.choice([0, 900, 40_000]),
            speed=luck.choice([0, 0, 700]),
            opening=luck.choice([0, 40_000]),
        )
        heard.append(Heard(lambda book, s=seller, f=facts: book.know(s.key, f), (seller.key, "")))
    return heard


def machine_history(luck: random.Random, machine: str) -> Iterator[Heard]:
    seller = luck.choice(SELLERS)
    (region, country), gpu = luck.choice(REGIONS), luck.choice(MODELS)
    price = luck.choice([80_000, 80_000, 100_000, 150_000, 250_000])
    offer = partial(offered_by, seller, machine=machine, region=region, jurisdiction=country, gpu=gpu, total_slots=8)
    newest = luck.randint(1, 4)
    for version in range(1, newest + 1):
        gone = luck.random() < (0.25 if version == newest else 0.1)
        price = luck.choice([price, price, price + 1_000])
        expires = NOW + (luck.choice([19_000, 40_000, 60_000]) if version == newest else 19_000)
        said = {"price": price, "free_slots": luck.randint(0, 8), "expires_at": expires, "withdrawn": gone}
        yield offer_heard(offer(version=version, **said))
    if luck.random() < 0.4:
        yield refused(luck, seller, machine, luck.randint(max(1, newest - 1), newest))


def refused(luck: random.Random, seller: Signer, machine: str, version: int) -> Heard:
    refusal = a_refusal(provider=seller.key, version=version, free_slots=luck.randint(0, 2))
    return refusal_heard(refusal, machine)


def told_in_some_order(luck: random.Random, heard: list[Heard], book: OfferBook) -> OfferBook:
    """Tell a node all of it, some of it twice."""
    waiting = heard + luck.sample([one for one in heard if one.version], k=3)
    luck.shuffle(waiting)
    seen: dict[tuple[bytes, str], int] = {}
    while waiting:
        later = []
        for one in waiting:
            if one.after > seen.get(one.machine, 0):
                later.append(one)
                continue
            one.tell(book)
            seen[one.machine] = max(one.version, seen.get(one.machine, 0))
        waiting = later
    book.drop_expired(ASKED_AT)
    return book


def some_ask(luck: random.Random) -> Ask:
    requirements = Requirements(
        gpus=luck.choice([(), ("RTX 4090",), ("A100", "T4")]),
        slots=luck.choice([1, 1, 2, 4]),
        regions=luck.choice([(), ("eu",)]),
        jurisdictions=luck.choice([(), ("eu",)]),
        min_reputation=luck.choice([0, 0, 800]),
    )
    job = JobFacts(max_ms=HOUR, work_ms=luck.choice([0, 600_000]), image="i", image_mib=3_000, moved_mib=100)
    return an_ask(
        bid_id=luck.randbytes(16),
        requirements=requirements,
        weights=luck.choice([*STRATEGIES.values(), (60, 20, 15, 5)]),
        limits=some_limits(max_rtt_us=luck.choice([0, 0, 100_000])),
        job=job,
    )


def test_five_nodes_find_the_same_list():
    winners = 0
    for seed in range(BOOKS):
        luck = random.Random(seed)
        heard, ask, kinds = history(luck), some_ask(luck), engines()
        books = [
            told_in_some_order(luck, heard, OfferBook(max_skew_ms=60_000, index=kinds[node % len(kinds)]()))
            for node in range(NODES)
        ]
        lists = [
            [(match.offer.id, match.score, match.expected_cost) for match in shortlist(book, ask, now=ASKED_AT).matches]
            for book in books
        ]
        assert all(one == lists[0] for one in lists), f"seed {seed}"
        winners += bool(lists[0])
    assert winners > BOOKS // 2


@pytest.mark.parametrize("make", engines(), ids=lambda kind: kind.__name__)
def test_the_first_of_the_list_is_the_best_of_all(make: Callable[[], Any]):
    for seed in range(50):
        luck = random.Random(seed)
        book = told_in_some_order(luck, history(luck), OfferBook(max_skew_ms=60_000, index=make()))
        ask = some_ask(luck)
        best = scan(book.rows(ASKED_AT), book.compile(ask, ASKED_AT), 1)
        found = shortlist(book, ask, now=ASKED_AT, size=1).matches
        assert [match.offer.id for match in found] == [book.offer_at(handle).id for _, handle in best], f"seed {seed}"
