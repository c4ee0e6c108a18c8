"""Whoever plays its rivals through leaves the index as it was, whatever is in it, and those who know all collide with
nobody."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from market.offer_index import OfferIndex
from market.offer_row import Row
from market.rivals import Rival, replay
from tests.property.test_offer_index import QUERIES, ROWS

BOOKS = st.lists(ROWS, max_size=12, unique_by=lambda row: row.handle)


@st.composite
def crowds(draw: st.DrawFn) -> list[Rival]:
    """Bids of two moments, with turns of their own."""
    wanted = draw(st.lists(QUERIES, min_size=1, max_size=10))
    return [((number % 2, number.to_bytes(16, "big")), query) for number, query in enumerate(wanted)]


def an_index(listed: list[Row]) -> OfferIndex:
    index = OfferIndex()
    for row in listed:
        index.put(row)
    return index


def contents(index: OfferIndex) -> list[Row]:
    return sorted(index.rows(), key=lambda row: row.handle)


def play(index: OfferIndex, crowd: list[Rival], number: int) -> list[tuple[int, int]]:
    (turn, mine), others = crowd[number], crowd[:number] + crowd[number + 1 :]
    return replay(index, mine, turn, others, 4)


@given(BOOKS, crowds())
def test_the_index_is_as_it_was(listed: list[Row], crowd: list[Rival]):
    index = an_index(listed)
    before = contents(index)
    asked = [index.top(query, 12) for _, query in crowd]
    for number in range(len(crowd)):
        play(index, crowd, number)
        assert contents(index) == before
    assert [index.top(query, 12) for _, query in crowd] == asked


@given(BOOKS, crowds(), st.data())
def test_the_order_in_which_rivals_are_given_does_not_matter(listed: list[Row], crowd: list[Rival], data: Any):
    index = an_index(listed)
    (turn, mine), others = crowd[0], crowd[1:]
    shuffled = data.draw(st.permutations(others))
    assert replay(index, mine, turn, others, 4) == replay(index, mine, turn, shuffled, 4)


@settings(max_examples=300)
@given(BOOKS, crowds())
def test_those_who_know_everything_never_ask_for_the_same_slots(listed: list[Row], crowd: list[Rival]):
    index = an_index(listed)
    first = [
        (found[0][1], crowd[number][1].slots) for number in range(len(crowd)) if (found := chosen(index, crowd, number))
    ]
    asked: Counter[int] = Counter()
    for handle, slots in first:
        asked[handle] += slots
    assert all(asked[handle] <= index.free(handle) for handle in asked)
    assert len(first) == served_in_turn(listed, crowd), "nobody is sent away whom one that saw everything would serve"


def chosen(index: OfferIndex, crowd: list[Rival], number: int) -> list[tuple[int, int]]:
    """What falls to this bid, apart from what all leave."""
    turn, mine = crowd[number]
    others = crowd[:number] + crowd[number + 1 :]
    return replay(index, mine, turn, others, 0)


def served_in_turn(listed: list[Row], crowd: list[Rival]) -> int:
    """How many of the crowd would be served if they came one after the other."""
    queries_in_turn = [query for _, query in sorted(crowd, key=lambda rival: rival[0])]
    return sum(handle >= 0 for handle in an_index(listed).match_all(queries_in_turn))
