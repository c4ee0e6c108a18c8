"""The price-ordered index, case by case. That it agrees with the scan at large is in tests/property."""

from __future__ import annotations

from typing import Any

from market.offer_index import OfferIndex
from market.offer_row import ALL, Query, Row, scan


def a_row(handle: int, **changes: Any) -> Row:
    """A free machine of class 0 that fits :func:`a_query`, named by its handle."""
    plain = Row(
        handle=handle,
        id=handle.to_bytes(32, "big"),
        tie=handle,
        provider=handle,
        klass=0,
        expires=1_000,
        price=100,
        free=2,
        vram=24_000,
        cpu=4_000,
        memory=16_000,
        disk=50_000,
        cuda=12_400,
        driver=0,
        notice=0,
        reputation=900,
        rtt_us=0,
        latency=50,
        venue=1,
        region=1,
        jurisdiction=1,
        runtimes=1,
        flags=0,
        speed=1_000,
        perf=500,
        link=80,
        failure=20,
        opening=0,
        images=frozenset(),
    )
    return plain._replace(**changes)


def a_query(**changes: Any) -> Query:
    """A lowest-cost bid for one slot of class 0 for a minute, without any other wish."""
    plain = Query(
        tie=5,
        now=10,
        classes=(0,),
        venue=1,
        max_price=10_000,
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
        image=0,
        image_mib=0,
        moved_mib=0,
        waiting=0,
        reference=100,
        w_cost=100,
        w_speed=0,
        w_reliability=0,
        w_latency=0,
    )
    return plain._replace(**changes)


def an_index(*rows: Row) -> OfferIndex:
    index = OfferIndex()
    for row in rows:
        index.put(row)
    return index


def handles(index: OfferIndex, query: Query, count: int = 16) -> list[int]:
    return [handle for _, handle in index.top(query, count)]


def test_an_empty_index_has_nothing_to_say():
    index = OfferIndex()
    assert len(index) == 0
    assert list(index.rows()) == []
    assert index.top(a_query(), 16) == []
    assert index.match(a_query()) == -1
    assert index.prices(0) == (0, 0)


def test_what_is_not_there_is_not_free_not_taken_and_not_missed():
    index = an_index(a_row(1))
    index.drop(2)
    index.give(2, 1)
    assert index.free(2) == 0
    assert not index.take(2, 1)
    assert len(index) == 1


def test_a_row_leaves_the_list_with_its_last_slot_and_comes_back_with_the_first():
    index = an_index(a_row(1, free=2), a_row(2, price=200))
    assert [index.match(a_query()) for _ in range(4)] == [1, 1, 2, 2]
    assert index.match(a_query()) == -1
    assert index.prices(0) == (0, 0)
    index.give(1, 1)
    assert index.prices(0) == (1, 100)
    assert index.free(1) == 1
    assert index.match(a_query(slots=2)) == -1
    assert index.match(a_query()) == 1


def test_more_than_is_free_is_not_taken_and_nothing_changes():
    index = an_index(a_row(1, free=2))
    assert not index.take(1, 3)
    assert index.free(1) == 2
    assert index.take(1, 2)
    assert index.free(1) == 0


def test_rows_come_with_what_is_free_now():
    index = an_index(a_row(1, free=2))
    index.take(1, 1)
    assert list(index.rows()) == [a_row(1, free=1)]


def test_an_offer_refreshed_in_place_is_found_by_its_new_id():
    query = a_query(now=2_000)
    index = an_index(a_row(1), a_row(2))
    assert handles(index, query) == []
    index.put(a_row(1, id=b"n" * 32, tie=99, expires=3_000, free=1))
    assert handles(index, query) == [1]
    assert next(row for row in index.rows() if row.handle == 1).id == b"n" * 32
    index.put(a_row(1, expires=4_000, free=0))
    assert handles(index, query) == []
    index.put(a_row(1, expires=4_000, free=3))
    assert handles(index, query) == [1]


def test_a_refresh_that_changes_more_than_its_date_counts_in_full():
    index = an_index(a_row(1), a_row(2))
    index.put(a_row(1, cpu=9_000, reputation=990))
    assert handles(index, a_query(cpu=8_000)) == [1]
    assert handles(index, a_query(w_cost=0, w_reliability=100)) == [1, 2]


def test_a_row_moves_with_its_price_and_with_its_class():
    index = an_index(a_row(1, price=100), a_row(2, price=200), a_row(3, price=300))
    index.put(a_row(1, price=250))
    assert handles(index, a_query()) == [2, 1, 3]
    index.put(a_row(2, klass=7, price=200))
    assert handles(index, a_query()) == [1, 3]
    assert handles(index, a_query(classes=(7,))) == [2]
    assert index.prices(0) == (2, 250)


def test_the_median_is_the_lower_one():
    index = an_index(*(a_row(handle, price=handle) for handle in (1, 2, 3, 4)))
    assert index.prices(0) == (4, 2)
    index.drop(1)
    assert index.prices(0) == (3, 3)


def test_equal_scores_are_ordered_by_hash_and_then_by_id():
    rows = [a_row(handle, tie=handle % 3, price=100) for handle in range(30)]
    index = an_index(*rows)
    assert index.top(a_query(), 7) == scan(rows, a_query(), 7)
    other = a_query(tie=6)
    assert index.top(other, 7) == scan(rows, other, 7)
    assert handles(index, other, 30) != handles(index, a_query(), 30)


def test_a_dear_class_is_not_missed_when_it_is_the_better_one():
    cheap = [a_row(handle, price=100 + handle, perf=10) for handle in range(20)]
    quick = [a_row(100 + handle, klass=1, price=500, perf=950) for handle in range(3)]
    query = a_query(classes=(0, 1), w_cost=1, w_speed=100)
    index = an_index(*cheap, *quick)
    assert index.top(query, 4) == scan([*cheap, *quick], query, 4)
    assert handles(index, query, 1)[0] >= 100


def test_after_the_best_row_of_a_class_left_the_others_are_still_found():
    index = an_index(a_row(1, reputation=1000, latency=1, perf=999), *(a_row(handle) for handle in range(2, 40)))
    index.drop(1)
    query = a_query(w_reliability=50, w_speed=10, w_latency=10)
    assert index.top(query, 5) == scan(index.rows(), query, 5)


def test_slots_are_matched_in_turn():
    index = an_index(a_row(1, free=1), a_row(2, price=200, free=1))
    assert index.match_all([a_query(), a_query(classes=(9,)), a_query(), a_query()]) == [1, -1, 2, -1]


def test_a_row_that_improves_in_its_place_is_not_overlooked():
    """Perf is in no column: what is known of the best of a group must follow."""
    index = an_index(*(a_row(handle, price=100 + handle) for handle in range(40)), a_row(99, price=200))
    query = a_query(w_speed=400)
    assert handles(index, query, 1) == [0]
    index.put(a_row(99, price=200, perf=999))
    assert handles(index, query, 1) == [99]
    assert index.top(query, 5) == scan(index.rows(), query, 5)


def test_changes_are_found_wherever_they_lie():
    """First in the small layer, then, with many of them, in the large one again."""
    index = an_index(*(a_row(handle, price=1_000 + handle) for handle in range(100)))
    assert handles(index, a_query(), 1) == [0]
    for handle in range(100, 400):
        index.put(a_row(handle, price=1_100 - handle))
        assert handles(index, a_query(), 1) == [handle]
    for handle in range(399, 99, -1):
        assert handles(index, a_query(), 1) == [handle]
        index.drop(handle)
    assert handles(index, a_query()) == list(range(16))
    assert index.prices(0) == (100, 1_049)


def test_an_index_that_was_emptied_fills_again():
    index = an_index(a_row(1))
    assert handles(index, a_query()) == [1]
    index.drop(1)
    assert handles(index, a_query()) == []
    index.put(a_row(2, klass=3))
    assert handles(index, a_query(classes=(3,))) == [2]


def test_names_beyond_the_codes_are_told_apart():
    rows = [a_row(handle, klass=handle, price=handle + 1, venue=1 << handle % 60) for handle in range(600)]
    index = an_index(*rows)
    for query in (a_query(classes=(3, 300)), a_query(classes=(259,), venue=8), a_query(classes=(3,), venue=16)):
        assert index.top(query._replace(venue=ALL), 3) == scan(rows, query._replace(venue=ALL), 3)
        assert index.top(query, 3) == scan(rows, query, 3)


def test_more_kinds_than_codes_are_told_apart():
    rows = [a_row(handle, runtimes=handle + 1) for handle in range(400)]
    index = an_index(*rows)
    for wanted in (1, 3, 255, 256, 300):
        assert index.top(a_query(runtimes=wanted), 9) == scan(rows, a_query(runtimes=wanted), 9)
