"""The price-ordered index against the scan over every row: same scores, same rows, same order, whatever happened."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.offer_index import OfferIndex
from market.offer_row import ALL, Query, Row, scan

FEW = [0, 1, 2, 3]
AMOUNTS = [0, 1, 100, 101, 5000, 5001]
"""Some lie so near to each other that an index may not tell them apart at first."""
SETS: list[frozenset[int]] = [frozenset(), frozenset({1}), frozenset({2, 3})]
VALUES: dict[str, list[Any]] = {
    "tie": [7, 8],
    "provider": FEW,
    "klass": FEW,
    "expires": [10, 11, 2**40, 2**40, 2**40],
    "price": [0, 1, 2, 3, 100, 101, 140, 10**15],
    "free": [0, 1, 1, 2, 4, 17, 18],
    "vram": AMOUNTS,
    "cpu": AMOUNTS,
    "memory": AMOUNTS,
    "disk": AMOUNTS,
    "cuda": AMOUNTS,
    "driver": AMOUNTS,
    "notice": AMOUNTS,
    "reputation": [0, 500, 505, 990, 999, 1000],
    "rtt_us": AMOUNTS,
    "latency": [0, 50, 60, 1000],
    "venue": [1, 2, 4],
    "region": [1, 2, 4],
    "jurisdiction": [1, 2, 4],
    "runtimes": [1, 3, 7],
    "flags": [0, 0, 0, 1, 2],
    "speed": [1, 500, 520, 7000],
    "perf": [0, 500, 510, 1000],
    "link": [0, 80, 8000],
    "failure": [0, 20, 20, 20, 333, 1000],
    "opening": [0, 0, 0, 5],
    "images": [*SETS, frozenset({7})],
}
"""Rows crowd on few values, so that equal scores are common."""
PLAIN = Query(
    tie=1,
    now=10,
    classes=(0, 1, 2, 3),
    venue=ALL,
    max_price=10**15,
    slots=1,
    vram=0,
    vram_max=2**40,
    cpu=0,
    memory=0,
    disk=0,
    cuda=0,
    driver=0,
    notice=0,
    reputation=0,
    max_rtt_us=0,
    regions=ALL,
    jurisdictions=ALL,
    runtimes=0,
    barred=0,
    allow=None,
    deny=frozenset(),
    work_ms=60_000,
    paced=False,
    max_ms=60_000,
    image=7,
    image_mib=0,
    moved_mib=0,
    waiting=100,
    reference=100,
    w_cost=100,
    w_speed=0,
    w_reliability=0,
    w_latency=0,
)
"""Fits whatever has a free slot and time left."""
MASKS = [1, 3, 4, 6]
WEIGHTS = [0, 1, 100, 1000]
WISHES: dict[str, list[Any]] = {
    "tie": FEW,
    "classes": [(), (1,), (0, 2), (1, 2, 3)],
    "venue": MASKS,
    "max_price": [0, 1, 99, 100],
    "slots": [2, 3, 17, 18],
    "vram": AMOUNTS,
    "vram_max": AMOUNTS,
    "cpu": AMOUNTS,
    "memory": AMOUNTS,
    "disk": AMOUNTS,
    "cuda": AMOUNTS,
    "driver": AMOUNTS,
    "notice": AMOUNTS,
    "reputation": [500, 505, 999, 1000],
    "max_rtt_us": AMOUNTS,
    "regions": MASKS,
    "jurisdictions": MASKS,
    "runtimes": [1, 3],
    "barred": [1, 3],
    "allow": SETS,
    "deny": SETS,
    "work_ms": [0, 1, 333, 60_001],
    "paced": [True],
    "max_ms": [1, 500, 90_000],
    "image_mib": [4000],
    "moved_mib": [500],
    "waiting": [0, 7],
    "reference": [0, 1],
    "w_cost": WEIGHTS,
    "w_speed": WEIGHTS,
    "w_reliability": WEIGHTS,
    "w_latency": WEIGHTS,
}
HANDLES = st.integers(0, 15)


def a_row(handle: int, values: dict[str, Any]) -> Row:
    return Row(handle=handle, id=values["tie"].to_bytes(8, "big") + handle.to_bytes(24, "big"), **values)


def random_row(luck: random.Random, handle: int, values: dict[str, list[Any]]) -> Row:
    return a_row(handle, {field: luck.choice(choice) for field, choice in values.items()})


def some_values(luck: random.Random) -> dict[str, list[Any]]:
    """Of each field a few values, as in a market where much is alike."""
    return {field: luck.sample(values, luck.randint(1, len(values))) for field, values in VALUES.items()}


def random_query(luck: random.Random) -> Query:
    wishes = luck.sample(sorted(WISHES), luck.randrange(6))
    return PLAIN._replace(**{wish: luck.choice(WISHES[wish]) for wish in wishes})


ROWS = st.builds(
    a_row, HANDLES, st.fixed_dictionaries({field: st.sampled_from(values) for field, values in VALUES.items()})
)
QUERIES = (
    st.sets(st.sampled_from(sorted(WISHES)), max_size=5)
    .flatmap(lambda wishes: st.fixed_dictionaries({wish: st.sampled_from(WISHES[wish]) for wish in sorted(wishes)}))
    .map(lambda wishes: PLAIN._replace(**wishes))
)


STEPS = st.one_of(
    st.tuples(st.just("put"), ROWS),
    st.tuples(st.just("put"), ROWS),
    st.tuples(st.just("drop"), HANDLES),
    st.tuples(st.just("take"), st.tuples(HANDLES, st.sampled_from([1, 2, 3, 16]))),
    st.tuples(st.just("give"), st.tuples(HANDLES, st.sampled_from([1, 2, 3, 16]))),
    st.tuples(st.just("match"), QUERIES),
    st.tuples(st.just("top"), QUERIES),
)


def follow(book: dict[int, Row], step: str, value) -> object:
    """What a book of plain rows does, and answers."""
    if step == "put":
        book[value.handle] = value
    elif step == "drop":
        book.pop(value, None)
    elif step == "top":
        return scan(book.values(), value, 3)
    elif step == "match":
        best = scan(book.values(), value, 1)
        if not best:
            return -1
        follow(book, "take", (best[0][1], value.slots))
        return best[0][1]
    else:
        handle, slots = value
        row = book.get(handle)
        if row is None or (step == "take" and row.free < slots):
            return False if step == "take" else None
        book[handle] = row._replace(free=row.free + (slots if step == "give" else -slots))
        return True if step == "take" else None
    return None


@settings(max_examples=500, deadline=None)
@given(st.lists(STEPS, max_size=40), st.lists(QUERIES, min_size=1, max_size=4))
def test_whatever_happens_it_finds_what_the_scan_finds(steps: list, asked: list[Query]):
    index, book = OfferIndex(), {}
    for step, value in steps:
        given_to = {"take": value, "give": value, "top": (value, 3)}.get(step, (value,))
        assert getattr(index, step)(*given_to) == follow(book, step, value)
    assert {row.handle: row for row in index.rows()} == book
    for query in asked:
        assert index.top(query, 3) == scan(book.values(), query, 3)
        assert index.top(query, 16) == scan(book.values(), query, 16)
        assert index.top(query, 0) == []
    for klass in range(5):
        prices = sorted(row.price for row in book.values() if row.klass == klass and row.free > 0)
        assert index.prices(klass) == (len(prices), prices[(len(prices) - 1) // 2] if prices else 0)
    expected = [follow(book, "match", query) for query in asked]
    assert index.match_all(asked) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, max_size=12, unique_by=lambda row: row.handle), QUERIES, st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(book: list[Row], query: Query, luck):
    answers = []
    for _ in range(3):
        luck.shuffle(book)
        index = OfferIndex()
        for row in book:
            index.put(row)
        answers.append(index.top(query, 16))
    assert answers[0] == answers[1] == answers[2] == scan(book, query, 16)


@pytest.mark.parametrize("seed", range(50))
def test_a_book_of_hundreds_under_churn(seed: int):
    """Large enough that rows are split by speed, and that changes gather in the small layer and leave it again."""
    luck = random.Random(seed)
    values = some_values(luck)
    book = {handle: random_row(luck, handle, values) for handle in range(300)}
    index = OfferIndex()
    for row in book.values():
        index.put(row)
    for _ in range(60):
        for handle in luck.sample(range(320), luck.randrange(4)):
            step, value = luck.choice([("put", random_row(luck, handle, values)), ("drop", handle)])
            getattr(index, step)(value)
            follow(book, step, value)
        query = random_query(luck)
        for count in (1, 5, 16):
            assert index.top(query, count) == scan(book.values(), query, count)
        assert index.match(query) == follow(book, "match", query)
