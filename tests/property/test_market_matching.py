"""The auction over random books: one winner whatever the order of arrival, and explanations that are true."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.ask import Ask
from market.explain import why_not
from market.feasibility import RULES, Candidate, Limits, failures
from market.matching import MAX_PER_PREFIX, shortlist
from market.offer_book import OfferBook
from market.offer_row import rank
from market.records import Offer, Requirements
from market.signing import Verified
from tests.fakes.samples import NOW, a_candidate, a_signer, an_ask, offered_by, some_limits

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


FEW = st.sampled_from([0, 1, 2, 3])
CANDIDATES = st.builds(
    a_candidate,
    free_slots=FEW,
    reputation=st.sampled_from([0, 500, 1000]),
    price=FEW,
    vram_mib=FEW,
    cpu_milli=FEW,
    memory_mib=FEW,
    disk_mib=FEW,
    cuda_milli=FEW,
    gpu=st.sampled_from(["A100", "H100", "none"]),
    region=st.sampled_from(["", "eu-west", "us"]),
    simulated=st.booleans(),
)
REQUIREMENTS = st.builds(
    Requirements,
    slots=st.sampled_from([1, 2]),
    vram_mib=FEW,
    vram_max_mib=FEW,
    cpu_milli=FEW,
    memory_mib=FEW,
    disk_mib=FEW,
    cuda_milli=st.sampled_from([0, 2]),
    gpus=st.sampled_from([(), (), ("a100",), ("h100", "none")]),
    regions=st.sampled_from([(), (), ("eu",), ("us",)]),
    min_reputation=st.sampled_from([0, 0, 500]),
    allow_simulated=st.booleans(),
)
LIMITS = st.builds(some_limits, max_price=FEW, deny=st.sampled_from([(), (PROVIDERS[0].key,)]))


@settings(max_examples=300, deadline=None)
@given(st.lists(CANDIDATES, max_size=12), REQUIREMENTS, LIMITS)
def test_the_counts_add_up_and_every_proposal_works(book: list[Candidate], needs: Requirements, limits: Limits):
    answer = why_not(book, needs, limits)
    broken = [[name for name, holds in RULES if not holds(one, needs, limits)] for one in book]
    assert answer.offers == len(book)
    assert answer.matches == sum(not names for names in broken)
    assert {rule.rule: rule.fails for rule in answer.rules} == Counter(name for names in broken for name in names)
    for rule in answer.rules:
        assert rule.only == broken.count([rule.rule])
    assert sum(rule.only for rule in answer.rules) <= answer.offers - answer.matches
    for change in answer.closest:
        loosened, wider = _with(change.field, change.value, needs, limits)
        now_fit = sum(not failures(one, loosened, wider) for one in book)
        assert now_fit == answer.matches + change.matches > answer.matches, change


@settings(max_examples=300, deadline=None)
@given(st.lists(CANDIDATES, max_size=8), REQUIREMENTS, LIMITS)
def test_no_smaller_change_of_a_number_would_do(book: list[Candidate], needs: Requirements, limits: Limits):
    """For every number the nearest change is found by trying them all, from near to far."""
    answer = {change.field: change.value for change in why_not(book, needs, limits).closest}
    before = sum(not failures(one, needs, limits) for one in book)
    for field in ("cpu_milli", "memory_mib", "disk_mib", "cuda_milli", "vram_mib", "slots", "max_price"):
        start = limits.max_price if field == "max_price" else getattr(needs, field)
        steps = range(start + 1, 5) if field == "max_price" else range(start - 1, -1, -1)
        tried = (value for value in steps if value >= (1 if field == "slots" else 0))
        nearest = next((value for value in tried if _fitting(book, field, value, needs, limits) > before), None)
        assert answer.get(field) == nearest, field


def _fitting(book: list[Candidate], field: str, value: int, needs: Requirements, limits: Limits) -> int:
    loosened, wider = _with(field, value, needs, limits)
    return sum(not failures(one, loosened, wider) for one in book)


def _with(field: str, value: Any, needs: Requirements, limits: Limits) -> tuple[Requirements, Limits]:
    if field == "max_price":
        return needs, msgspec.structs.replace(limits, max_price=value)
    if field in ("gpus", "regions"):
        value = (*getattr(needs, field), value)
    return msgspec.structs.replace(needs, **{field: value}), limits
