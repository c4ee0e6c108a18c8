"""Finds the best offers for a bid without looking at all of them. Same answers as :func:`market.offer_row.scan`.

:mod:`market.offer_planes` says which rows may fit, :mod:`market.offer_search` which of these are the best. Here the
rows are kept: in a large layer, and a small one with what came since, because a layer's order does not change.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from math import isqrt

from market.offer_planes import Kinds, Layer, Spot, codes_of
from market.offer_row import Query, Row
from market.offer_search import EVERYTHING, Best, search

_SMALL = 64
"""Rows the small layer may always have. Beyond, it grows with the root of all: what a change costs is least then."""
_GONE = -1
_REST = slice(Row._fields.index("free") + 1, None)
"""What a refreshed offer has in common with the one before it."""


class OfferIndex:
    """The rows of a book, to be found by :class:`market.offer_row.Query`. Never asks the clock."""

    def __init__(self) -> None:
        self._spots: dict[int, Spot] = {}
        self._pending: dict[int, Spot] = {}
        self._layers: list[Layer] = []
        self._left = self._loose = 0
        self._kinds: Kinds = {}
        self._bests: dict[int, Best] = {}
        self._prices: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._spots)

    def rows(self) -> Iterator[Row]:
        """Every row with the slots that are free now, in no particular order."""
        for spot in self._spots.values():
            yield spot.row if spot.row.free == spot.free else spot.row._replace(free=spot.free)

    def put(self, row: Row) -> None:
        """Insert a row, or replace the one with the same handle."""
        spot = self._spots.get(row.handle)
        if spot is not None:
            if self._has_the_place(spot, row):
                spot.hold(row)
                self._set_free(spot, row.free)
                return
            self.drop(row.handle)
        self._spots[row.handle] = self._pending[row.handle] = spot = Spot(row, self._prices.setdefault(row.klass, []))
        self._set_free(spot, row.free)

    def drop(self, handle: int) -> None:
        """Forget a row; nothing happens when there is none."""
        spot = self._spots.pop(handle, None)
        if spot is None:
            return
        self._set_free(spot, 0)
        spot.free = _GONE
        if spot.layer is None:
            del self._pending[handle]
        else:
            self._left += 1

    def free(self, handle: int) -> int:
        """Slots that are free now; 0 for a row that is not here."""
        spot = self._spots.get(handle)
        return spot.free if spot else 0

    def take(self, handle: int, slots: int) -> bool:
        """Commit slots; False, and nothing changed, when fewer are free."""
        spot = self._spots.get(handle)
        if spot is None or spot.free < slots:
            return False
        self._set_free(spot, spot.free - slots)
        return True

    def give(self, handle: int, slots: int) -> None:
        """Release slots; nothing happens when the row is gone."""
        spot = self._spots.get(handle)
        if spot is not None:
            self._set_free(spot, spot.free + slots)

    def top(self, query: Query, count: int) -> list[tuple[int, int]]:
        """The best ``count`` rows as ``(score, handle)``, best first: what ``scan`` over all rows finds."""
        if count < 1:
            return []
        if self._pending:
            self._settle()
        return [(points, spot.row.handle) for points, spot in search(query, count, self._layers, self._bests)]

    def match(self, query: Query) -> int:
        """Take the query's slots from its best row: the row's handle, or -1 when none fits."""
        if self._pending:
            self._settle()
        found = search(query, 1, self._layers, self._bests)
        if not found:
            return -1
        spot = found[0][1]
        self._set_free(spot, spot.free - query.slots)
        return spot.row.handle

    def match_all(self, queries: Sequence[Query]) -> list[int]:
        """Match one after the other, each with what those before it left."""
        return [self.match(query) for query in queries]

    def prices(self, klass: int) -> tuple[int, int]:
        """How many rows of a class have free slots, and the lower median of their prices (0 without any)."""
        prices = self._prices.get(klass)
        return (len(prices), prices[(len(prices) - 1) // 2]) if prices else (0, 0)

    def _set_free(self, spot: Spot, free: int) -> None:
        was, spot.free = spot.free, free
        if spot.layer is not None:
            spot.layer.set_free(spot.place, was, free)
        if was <= 0:
            if free > 0:
                insort(spot.prices, spot.price)
        elif free <= 0:
            del spot.prices[bisect_left(spot.prices, spot.price)]

    def _has_the_place(self, spot: Spot, row: Row) -> bool:
        """Whether a row may lie where another one does. It may when only its date changed, and whenever it looks the
        same from there."""
        old = spot.row
        if row.price != old.price or row.klass != old.klass or spot.layer is None:
            return False
        if row[_REST] == old[_REST] and row.provider == old.provider:
            return True
        if codes_of(row, self._kinds) != spot.codes:
            return False
        self._note(spot.codes[-1], row)
        return True

    def _settle(self) -> None:
        """Put what is new into the small layer, or everything into a large one."""
        for spot in self._pending.values():
            spot.code(self._kinds)
            self._note(spot.codes[-1], spot.row)
        large, small = self._layers[:1], [*_left_in(self._layers[1:]), *self._pending.values()]
        self._pending.clear()
        if large and len(small) + self._left <= _SMALL + 2 * isqrt(len(self._spots)):
            self._layers = [*large, Layer(small, self._kinds)]
            return
        self._layers = [Layer([*_left_in(large), *small], self._kinds)]
        self._loose += self._left
        self._left = 0
        if self._loose > len(self._spots):
            self._tighten()

    def _tighten(self) -> None:
        """Bounds only widen, and a class whose last row is gone keeps its list: begin anew now and then."""
        self._loose = 0
        self._bests.clear()
        for spot in self._spots.values():
            self._note(spot.codes[-1], spot.row)
        self._prices = {spot.row.klass: spot.prices for spot in self._spots.values()}

    def _note(self, pace: int, row: Row) -> None:
        for group in (pace, EVERYTHING):
            if group in self._bests:
                self._bests[group].widen(row)
            else:
                self._bests[group] = Best.of(row)


def _left_in(layers: list[Layer]) -> Iterator[Spot]:
    return (spot for layer in layers for spot in layer.spots if spot.free > _GONE)
