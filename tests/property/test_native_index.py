"""The index in C against the scan, the index in Python and a judge of its own: always the same answers."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
import subprocess
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market import native_index
from market.native_index import NativeIndex
from market.offer_index import OfferIndex
from market.offer_row import Query, Row, scan
from tests.bench.fuzz import LARGE, Book, compare, follow
from tests.property import test_offer_index as plain
from tests.property.test_offer_index import QUERIES, ROWS, STEPS

SOURCE = Path(native_index.__file__).with_name("_offer_index.c")
SMALL_PARTS = 40


@settings(max_examples=500, deadline=None)
@given(st.lists(STEPS, max_size=40), st.lists(QUERIES, min_size=1, max_size=4))
def test_whatever_happens_it_finds_what_the_scan_finds(steps: list, asked: list[Query]):
    index, book = NativeIndex(), {}
    for step, value in steps:
        given_to = {"take": value, "give": value, "top": (value, 3)}.get(step, (value,))
        assert getattr(index, step)(*given_to) == plain.follow(book, step, value)
    assert {row.handle: row for row in index.rows()} == book
    assert len(index) == len(book)
    for query in asked:
        for count in (0, 1, 3, 16):
            assert index.top(query, count) == index.top(index.pack(query), count) == scan(book.values(), query, count)
    for klass in range(5):
        prices = sorted(row.price for row in book.values() if row.klass == klass and row.free > 0)
        assert index.prices(klass) == (len(prices), prices[(len(prices) - 1) // 2] if prices else 0)
    expected = [plain.follow(book, "match", query) for query in asked]
    assert index.match_all(asked) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(ROWS, max_size=150, unique_by=lambda row: row.handle), QUERIES, st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(book: list[Row], query: Query, luck: random.Random):
    answers = []
    for _ in range(3):
        luck.shuffle(book)
        index = NativeIndex()
        for row in book:
            index.put(row)
        answers.append(index.top(query, 16))
    assert answers[0] == answers[1] == answers[2] == scan(book, query, 16)


@pytest.mark.parametrize("seed", range(4))
def test_many_offers_at_one_price_are_told_apart(seed: int):
    luck, index, python = random.Random(seed), NativeIndex(), OfferIndex()
    like = plain.random_row(luck, 0, plain.some_values(luck))._replace(klass=1, price=100, expires=2**40, flags=0)
    for handle in range(2_000):
        tie = handle % 50
        name = tie.to_bytes(8, "big") + luck.randbytes(24)
        row = like._replace(
            handle=handle, id=name, tie=tie, free=luck.choice((1, 2)), reputation=luck.choice((999, 1000))
        )
        index.put(row)
        python.put(row)
    for _ in range(1_000):
        handle, slots = luck.randrange(2_000), luck.choice((0, 1))
        assert index.take(handle, slots) == python.take(handle, slots)
        index.drop(handle + 7)
        python.drop(handle + 7)
        assert index.prices(1) == python.prices(1)
    everything = plain.PLAIN._replace(classes=(1,), now=0, barred=0, w_cost=1, w_reliability=1, reference=1)
    found = index.top(everything, 3_000)
    assert found == python.top(everything, 3_000) == scan(index.rows(), everything, 3_000)
    assert len(found) > 500


def test_a_class_in_parts_is_found_in_like_any_other():
    found = follow(Book(5, LARGE), 150)
    assert found.is_clean, found
    assert found.served > 20


@pytest.mark.timeout(900)
def test_a_hundred_thousand_decisions_agree():
    found = compare(100_000, seed=11)
    assert found.is_clean, found
    assert found.decisions == 100_000
    assert found.served > 40_000


@pytest.mark.timeout(300)
def test_small_classes_in_parts_agree_as_well(tmp_path: Path):
    found = compare(20_000, seed=3, native=built_with_small_parts(tmp_path))
    assert found.is_clean, found


def built_with_small_parts(folder: Path) -> type[NativeIndex]:
    """The same source, but every class of some size comes and goes in parts."""
    library = folder / "_offer_index.abi3.so"
    flags = ["-std=c11", "-O2", "-shared", "-fPIC", f"-DDIVIDE_AT={SMALL_PARTS}"]
    headers = sysconfig.get_path("include")
    subprocess.run(["cc", *flags, f"-I{headers}", str(SOURCE), "-o", str(library)], check=True)
    loader = importlib.machinery.ExtensionFileLoader("market._offer_index", str(library))
    spec = importlib.util.spec_from_loader("market._offer_index", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module.NativeIndex
