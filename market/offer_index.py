"""Finds the best offers for a bid without looking at all of them. Same answers as :func:`market.offer_row.scan`.

Every GPU class keeps its rows in ascending price, and the best that any row of the class has to offer beside its price.
From both follows the smallest score a row can have; once that is above what was found already, the rest of the class,
or the whole class, need not be looked at. Rows without free slots are kept out of the lists.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappush, heappushpop

from market.offer_row import Query, Row, fits, mix, score

_HANDLES = 40
"""Bits of a list key that hold the handle; the price stands above them."""


@dataclass(slots=True)
class _Class:
    """The rows of one GPU model with free slots, and the best of everything any of them has to offer."""

    keys: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    speed: int = 1
    perf: int = 0
    reputation: int = 0
    latency: int = 1000
    failure: int = 1000

    def widen(self, row: Row) -> None:
        self.speed = max(self.speed, row.speed)
        self.perf = max(self.perf, row.perf)
        self.reputation = max(self.reputation, row.reputation)
        self.latency = min(self.latency, row.latency)
        self.failure = min(self.failure, row.failure)

    def floor(self, query: Query) -> tuple[int, int]:
        """Score per nanotoken of price at least, and score whatever the price at least."""
        ms = min(query.max_ms, query.work_ms * 1000 // self.speed if query.paced else query.work_ms)
        others = (
            query.w_speed * (1000 - self.perf)
            + query.w_reliability * (1000 - self.reputation)
            + query.w_latency * self.latency
        )
        return query.w_cost * 1000 * query.slots * ms, query.reference * query.slots * query.work_ms * others


class OfferIndex:
    """The rows of a book, by price within their class. Handles are smaller than 2**40."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self._classes: dict[int, _Class] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Row]:
        """Every row with its slots that are free now, in no particular order."""
        return iter(self._rows.values())

    def put(self, row: Row) -> None:
        """Insert a row, or replace the one with the same handle."""
        self.drop(row.handle)
        self._rows[row.handle] = row
        if row.free > 0:
            self._list(row)

    def drop(self, handle: int) -> None:
        """Forget a row; nothing happens when there is none."""
        row = self._rows.pop(handle, None)
        if row is not None and row.free > 0:
            self._unlist(row)

    def free(self, handle: int) -> int:
        """Slots that are free now, 0 for a row that is not here."""
        row = self._rows.get(handle)
        return row.free if row else 0

    def take(self, handle: int, slots: int) -> bool:
        """Commit slots; False, and nothing changed, when fewer are free."""
        row = self._rows.get(handle)
        if row is None or row.free < slots:
            return False
        self.put(row._replace(free=row.free - slots))
        return True

    def give(self, handle: int, slots: int) -> None:
        """Release slots; nothing happens when the row is gone."""
        row = self._rows.get(handle)
        if row is not None:
            self.put(row._replace(free=row.free + slots))

    def top(self, query: Query, count: int) -> list[tuple[int, int]]:
        """The best ``count`` rows as ``(score, handle)``, best first: what ``scan`` over all rows finds."""
        if count < 1:
            return []
        found: list[tuple[int, Row]] = []
        worst: list[int] = []
        for floor, slope, listed in self._by_floor(query):
            if len(worst) == count and floor + slope * (listed.keys[0] >> _HANDLES) > -worst[0]:
                break
            for row in listed.rows:
                if row.price > query.max_price or (len(worst) == count and floor + slope * row.price > -worst[0]):
                    break
                if not fits(row, query):
                    continue
                points = score(row, query)
                if len(worst) < count:
                    heappush(worst, -points)
                elif points > -worst[0]:
                    continue
                else:
                    heappushpop(worst, -points)
                found.append((points, row))
        ranked = sorted((points, mix(row.tie ^ query.tie), row.id, row.handle) for points, row in found)
        return [(points, handle) for points, _, _, handle in ranked[:count]]

    def match(self, query: Query) -> int:
        """Take the query's slots from its best row: the row's handle, or -1 when none fits."""
        best = self.top(query, 1)
        if not best:
            return -1
        self.take(best[0][1], query.slots)
        return best[0][1]

    def match_all(self, queries: Sequence[Query]) -> list[int]:
        """Match one after the other, each with what those before it left."""
        return [self.match(query) for query in queries]

    def prices(self, klass: int) -> tuple[int, int]:
        """How many rows of a class have free slots, and the lower median of their prices (0 without any)."""
        listed = self._classes.get(klass)
        if listed is None or not listed.rows:
            return 0, 0
        return len(listed.rows), listed.rows[(len(listed.rows) - 1) // 2].price

    def _by_floor(self, query: Query) -> list[tuple[int, int, _Class]]:
        listed = [self._classes[klass] for klass in query.classes if klass in self._classes]
        floors = [(*one.floor(query)[::-1], one) for one in listed if one.rows]
        return sorted(floors, key=lambda item: item[0] + item[1] * (item[2].keys[0] >> _HANDLES))

    def _list(self, row: Row) -> None:
        listed = self._classes.setdefault(row.klass, _Class())
        listed.widen(row)
        key = row.price << _HANDLES | row.handle
        place = bisect_right(listed.keys, key)
        listed.keys.insert(place, key)
        listed.rows.insert(place, row)

    def _unlist(self, row: Row) -> None:
        listed = self._classes[row.klass]
        place = bisect_left(listed.keys, row.price << _HANDLES | row.handle)
        del listed.keys[place], listed.rows[place]
