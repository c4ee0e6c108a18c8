"""The index in C: that it is there, that it takes what any offer may hold, and that nothing else gets in."""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import sys

import pytest

from market import native_index
from market.native_index import AVAILABLE, NativeIndex, open_index
from market.offer_index import OfferIndex
from market.offer_row import ALL, Query, Row, scan

if not AVAILABLE:
    pytest.fail(
        "the native index was not compiled, or from another source: install a C compiler and Python's header files "
        "(apt-get install gcc libc6-dev python3-dev), then: uv sync --locked --reinstall-package computefabric",
        pytrace=False,
    )
from market import _offer_index

ROW = Row(
    handle=3,
    id=bytes(range(32)),
    tie=1,
    provider=5,
    klass=2,
    expires=100,
    price=1000,
    free=4,
    vram=24_000,
    cpu=4000,
    memory=16_384,
    disk=102_400,
    cuda=12_400,
    driver=550_054_014,
    notice=2**31 - 1,
    reputation=990,
    rtt_us=20_000,
    latency=20,
    venue=1,
    region=2,
    jurisdiction=4,
    runtimes=3,
    flags=0,
    speed=1000,
    perf=500,
    link=85_899,
    failure=20,
    opening=7,
    images=frozenset({11, 2**64 - 1}),
)
QUERY = Query(
    tie=9,
    now=50,
    classes=(1, 2),
    venue=1,
    max_price=2000,
    slots=2,
    vram=16_000,
    vram_max=2**31,
    cpu=1000,
    memory=1024,
    disk=1024,
    cuda=12_000,
    driver=535_000_000,
    notice=2**31 - 1,
    reputation=900,
    max_rtt_us=50_000,
    regions=ALL,
    jurisdictions=ALL,
    runtimes=1,
    barred=3,
    allow=None,
    deny=frozenset(),
    work_ms=3_600_000,
    paced=True,
    max_ms=7_200_000,
    image=11,
    image_mib=9000,
    moved_mib=500,
    waiting=1000,
    reference=1500,
    w_cost=50,
    w_speed=25,
    w_reliability=19,
    w_latency=6,
)
LARGEST = ROW._replace(
    handle=2**24 - 1, tie=2**64 - 1, provider=2**63 - 1, klass=4095, expires=253_402_300_799_999, price=10**15,
    free=4096, vram=10**6, cpu=10**6, memory=2**31, disk=2**31, cuda=10**6, driver=999_999_999, notice=2**31 - 1,
    reputation=1000, rtt_us=2**31 - 1, latency=1000, venue=2**63, region=2**63, jurisdiction=2**63,
    runtimes=2**64 - 1, flags=4, speed=2 * 10**6, perf=0, link=8_589_935, failure=1000, opening=2**53,
    images=frozenset(range(2**64 - 16, 2**64)),
)  # fmt: skip
"""As much of everything as an offer within the bounds of market/records.py, and what is known of it, can have."""
HARDEST = QUERY._replace(
    tie=2**64 - 1, classes=tuple(range(4096)), venue=ALL, max_price=10**15, slots=4096, runtimes=2**64 - 1,
    max_rtt_us=2**31 - 1, barred=3, work_ms=31 * 86_400_000, paced=False, max_ms=31 * 86_400_000, image=1,
    image_mib=10**6, moved_mib=2**28, waiting=10**15, reference=10**15, w_cost=1000, w_speed=1000, w_reliability=1000,
    w_latency=1000,
)  # fmt: skip


def filled(*rows: Row) -> NativeIndex:
    index = NativeIndex()
    for row in rows:
        index.put(row)
    return index


def test_who_asks_for_an_index_gets_the_one_in_c():
    assert isinstance(open_index(), NativeIndex)
    assert isinstance(open_index(native=False), OfferIndex)


def test_where_it_was_not_built_the_one_in_python_does_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native_index, "AVAILABLE", False)
    assert isinstance(open_index(), OfferIndex)


def test_it_reads_the_fields_of_this_version():
    assert Row._fields == _offer_index.ROW_FIELDS
    assert Query._fields == _offer_index.QUERY_FIELDS


def test_it_finds_what_the_scan_finds_with_the_same_score():
    index = filled(ROW, ROW._replace(handle=4, price=999, images=frozenset()), ROW._replace(handle=5, expires=50))
    found = index.top(QUERY, 10)
    assert found == scan(index.rows(), QUERY, 10)
    assert [handle for _, handle in found] == [3, 4]
    assert index.top(NativeIndex.pack(QUERY), 10) == found


def test_the_largest_offer_and_the_hardest_bid_are_no_problem():
    index = filled(LARGEST)
    assert index.top(HARDEST, 1) == scan([LARGEST], HARDEST, 1) != []
    assert index.top(HARDEST, 1)[0][0] > 2**64
    assert index.match(HARDEST) == LARGEST.handle
    assert index.free(LARGEST.handle) == 0


def test_slots_are_taken_and_given():
    index = filled(ROW)
    assert index.match(QUERY) == 3
    assert [row.free for row in index.rows()] == [2]
    assert not index.take(3, 3)
    assert index.take(3, 2)
    assert index.match(QUERY) == -1
    index.give(3, 4)
    assert list(index.rows()) == [ROW]


def test_what_is_not_there_is_no_error():
    index = filled(ROW)
    for handle in (0, 4, 10**6, 2**70, -1):
        index.drop(handle)
        index.give(handle, 1)
        assert index.free(handle) == 0
        assert not index.take(handle, 1)
        assert index.prices(handle) == (0, 0)
    assert len(index) == 1


def test_prices_are_counted_by_class():
    index = filled(*(ROW._replace(handle=price, price=price) for price in (10, 40, 20, 30)), ROW._replace(free=0))
    assert index.prices(ROW.klass) == (4, 20)


BAD_ROWS = [
    *({name: -1} for name in Row._fields if name not in ("id", "images")),
    *({name: 2**64} for name in Row._fields if name not in ("id", "images")),
    *({name: "1"} for name in Row._fields),
    *({name: None} for name in Row._fields),
    *({name: 1.0} for name in Row._fields),
    {"handle": 2**24}, {"klass": 2**16}, {"price": 10**15 + 1}, {"free": 8192}, {"reputation": 1001}, {"speed": 0},
    {"latency": 1001}, {"failure": 1001}, {"perf": 1001}, {"link": 2**25}, {"images": {"a"}}, {"images": [1]},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD_ROWS, ids=str)
def test_a_bad_row_is_refused_and_nothing_changes(change: dict):
    index = filled(ROW)
    with pytest.raises((TypeError, ValueError)):
        index.put(ROW._replace(**change))
    assert list(index.rows()) == [ROW]
    assert index.match(QUERY) == ROW.handle


SETS = ("classes", "allow", "deny")
BAD_QUERIES = [
    *({name: -1} for name in Query._fields if name not in SETS),
    *({name: 2**64} for name in Query._fields if name not in SETS),
    *({name: "1"} for name in Query._fields),
    *({name: 1.0} for name in Query._fields),
    {"slots": 0}, {"slots": 8192}, {"classes": (1, "2")}, {"classes": [1]}, {"classes": None}, {"deny": None},
    {"deny": {"a"}}, {"allow": {None}}, {"allow": (1,)}, {"paced": 2},
    {"waiting": 2**63 - 1, "moved_mib": 2**38 - 1, "w_cost": 10**6},
]  # fmt: skip


@pytest.mark.parametrize("change", BAD_QUERIES, ids=str)
def test_a_bad_query_is_refused_and_takes_nothing(change: dict):
    index, bad = filled(ROW), QUERY._replace(**change)
    for ask in (index.match, NativeIndex.pack, lambda query: index.top(query, 1)):
        with pytest.raises((TypeError, ValueError)):
            ask(bad)
    with pytest.raises((TypeError, ValueError)):
        index.match_all([QUERY, bad])
    assert list(index.rows()) == [ROW]


@pytest.mark.parametrize("nonsense", [None, 3, "row", (), (1,) * len(Row._fields), tuple(ROW)[:-1], [*ROW], object()])
def test_nonsense_is_refused(nonsense: object):
    index = filled(ROW)
    for ask in (index.put, index.match, index.match_all, NativeIndex.pack, lambda query: index.top(query, 1)):
        if nonsense == () and ask == index.match_all:
            continue
        with pytest.raises((TypeError, ValueError)):
            ask(nonsense)
    for ask in (index.drop, index.free, index.prices, lambda handle: index.take(handle, 1)):
        if nonsense != 3:
            with pytest.raises(TypeError):
                ask(nonsense)
    assert list(index.rows()) == [ROW]


@pytest.mark.parametrize("slots", [-1, 8192, 2**64, "1", None, 1.0])
def test_slots_are_numbers_from_nought(slots: object):
    index = filled(ROW)
    for ask in (index.take, index.give):
        with pytest.raises((TypeError, ValueError)):
            ask(3, slots)
    with pytest.raises(ValueError, match="free slots"):
        index.give(3, 8190)
    assert list(index.rows()) == [ROW]


@pytest.mark.parametrize("count", [0, -1, -(2**70), 1, 2**70])
def test_any_count_may_be_asked_for(count: int):
    assert len(filled(ROW).top(QUERY, count)) == (1 if count > 0 else 0)
    assert NativeIndex().top(QUERY, count) == []


def test_a_figure_that_no_row_can_have_fits_none():
    index = filled(ROW)
    for name in ("vram", "cpu", "memory", "disk", "cuda", "driver", "notice", "reputation"):
        assert index.top(QUERY._replace(**{name: 2**40}), 1) == []
    for name in ("venue", "regions", "jurisdictions"):
        assert index.top(QUERY._replace(**{name: 0}), 1) == []
    # As much as one wants is no limit.
    assert index.top(QUERY._replace(max_price=2**63 - 1, vram_max=2**63 - 1, max_rtt_us=2**63 - 1, now=0), 1) != []


def test_a_table_of_classes_may_be_long_and_in_any_order():
    index = filled(ROW)
    assert index.match(QUERY._replace(classes=(2, 2, 10**30, -5, *range(5000)))) == 3


def test_rows_are_let_go():
    row = ROW._replace(handle=8)
    before = sys.getrefcount(row)
    index = filled(row, row)
    assert sys.getrefcount(row) == before + 1
    index.drop(8)
    assert sys.getrefcount(row) == before
    index.put(row)
    del index
    gc.collect()
    assert sys.getrefcount(row) == before


def test_it_can_be_loaded_more_than_once():
    path = _offer_index.__file__
    assert path is not None
    loader = importlib.machinery.ExtensionFileLoader("market._offer_index", path)
    for _ in range(3):
        spec = importlib.util.spec_from_loader("market._offer_index", loader)
        assert spec is not None
        again = importlib.util.module_from_spec(spec)
        loader.exec_module(again)
        assert again.NativeIndex is not NativeIndex
        index = again.NativeIndex()
        index.put(ROW)
        # A query packed by one is a query to the other.
        assert index.match(NativeIndex.pack(QUERY)) == 3
