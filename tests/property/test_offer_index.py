"""The price-ordered index against the scan over every row: same scores, same rows, same order, whatever happened."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from market.offer_index import OfferIndex
from market.offer_row import ALL, Query, Row, scan

HANDLES = st.integers(0, 11)
FEW = st.sampled_from([0, 1, 2, 3])
PERMILLE = st.sampled_from([0, 500, 999, 1000])
BITS = st.sampled_from([1, 2, 4])
MASKS = st.sampled_from([ALL, ALL, 1, 3, 4, 6])
MILLIS = st.sampled_from([1, 1000, 60_000])
WEIGHT = st.sampled_from([0, 0, 1, 100, 1000])


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Rows that crowd on few values, so that equal scores are common."""
    handle = draw(HANDLES)
    tie = draw(st.sampled_from([7, 8]))
    return Row(
        handle=handle,
        id=tie.to_bytes(8, "big") + handle.to_bytes(24, "big"),
        tie=tie,
        provider=draw(FEW),
        klass=draw(FEW),
        expires=draw(st.sampled_from([9, 10, 11, 2**40])),
        price=draw(st.sampled_from([0, 1, 2, 100, 10**15])),
        free=draw(st.sampled_from([0, 1, 2, 4])),
        vram=draw(FEW),
        cpu=draw(FEW),
        memory=draw(FEW),
        disk=draw(FEW),
        cuda=draw(FEW),
        driver=draw(FEW),
        notice=draw(FEW),
        reputation=draw(PERMILLE),
        rtt_us=draw(FEW),
        latency=draw(st.sampled_from([0, 50, 1000])),
        venue=draw(BITS),
        region=draw(BITS),
        jurisdiction=draw(BITS),
        runtimes=draw(st.sampled_from([1, 3, 7])),
        flags=draw(st.sampled_from([0, 0, 1, 2])),
        speed=draw(st.sampled_from([1, 500, 1000, 7000])),
        perf=draw(PERMILLE),
        link=draw(st.sampled_from([0, 80, 8000])),
        failure=draw(st.sampled_from([0, 20, 1000])),
        opening=draw(st.sampled_from([0, 0, 5])),
        images=draw(st.sampled_from([frozenset[int](), frozenset({7}), frozenset({7, 8})])),
    )


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """Bids of which most fit some of those rows."""
    work = draw(MILLIS)
    return Query(
        tie=draw(st.integers(0, 3)),
        now=10,
        classes=tuple(sorted(draw(st.sets(FEW, min_size=1)))),
        venue=draw(MASKS),
        max_price=draw(st.sampled_from([0, 1, 100, 10**15])),
        slots=draw(st.sampled_from([1, 1, 2, 3])),
        vram=draw(st.sampled_from([0, 0, 1])),
        vram_max=draw(st.sampled_from([2**40, 2])),
        cpu=draw(st.sampled_from([0, 0, 1])),
        memory=draw(st.sampled_from([0, 0, 1])),
        disk=draw(st.sampled_from([0, 0, 1])),
        cuda=draw(st.sampled_from([0, 0, 1])),
        driver=draw(st.sampled_from([0, 0, 1])),
        notice=draw(st.sampled_from([0, 0, 1])),
        reputation=draw(st.sampled_from([0, 0, 500])),
        max_rtt_us=draw(st.sampled_from([0, 0, 2])),
        regions=draw(MASKS),
        jurisdictions=draw(MASKS),
        runtimes=draw(st.sampled_from([0, 0, 1, 3])),
        barred=draw(st.sampled_from([0, 1, 3])),
        allow=draw(st.sampled_from([None, None, frozenset({0, 1})])),
        deny=draw(st.sampled_from([frozenset[int](), frozenset({2})])),
        work_ms=work,
        paced=draw(st.booleans()),
        max_ms=draw(st.sampled_from([work, 2 * work, work // 2])),
        image=draw(st.sampled_from([0, 7, 9])),
        image_mib=draw(st.sampled_from([0, 4000])),
        moved_mib=draw(st.sampled_from([0, 0, 500])),
        waiting=draw(st.sampled_from([0, 100])),
        reference=draw(st.sampled_from([0, 1, 100])),
        w_cost=draw(WEIGHT),
        w_speed=draw(WEIGHT),
        w_reliability=draw(WEIGHT),
        w_latency=draw(WEIGHT),
    )


STEPS = st.one_of(
    st.tuples(st.just("put"), rows()),
    st.tuples(st.just("put"), rows()),
    st.tuples(st.just("drop"), HANDLES),
    st.tuples(st.just("take"), st.tuples(HANDLES, st.integers(1, 3))),
    st.tuples(st.just("give"), st.tuples(HANDLES, st.integers(1, 3))),
    st.tuples(st.just("match"), queries()),
    st.tuples(st.just("top"), queries()),
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


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=40), st.lists(queries(), min_size=1, max_size=4))
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
@given(st.lists(rows(), max_size=12, unique_by=lambda row: row.handle), queries(), st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(book: list[Row], query: Query, luck):
    answers = []
    for _ in range(3):
        luck.shuffle(book)
        index = OfferIndex()
        for row in book:
            index.put(row)
        answers.append(index.top(query, 16))
    assert answers[0] == answers[1] == answers[2] == scan(book, query, 16)
