"""Looks at every offer of a book, column by column, and says which one a bid must get. Shares no code with the indexes.

The rules are written here a third time, on purpose: from what the fields of a row and a query are said to mean, on
numpy columns, so that a slip in one of the others shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from market.offer_row import Query, Row

_WORDS = ("venue", "region", "jurisdiction", "runtimes", "flags")
_OTHERS = ("handle", "id", "tie", "images", *_WORDS)
_FIGURES = tuple(name for name in Row._fields if name not in _OTHERS)
_UNIT = 10**6
"""Nanotoken-milliseconds in a token unit."""


class Judge:
    """The rows of a book of at most so many handles, with what is free of each."""

    def __init__(self, size: int) -> None:
        self._figures = {name: np.zeros(size, np.int64) for name in _FIGURES}
        self._words = {name: np.zeros(size, np.uint64) for name in _WORDS}
        self._there = np.zeros(size, bool)
        self._rows: list[Row | None] = [None] * size
        self._total = [0] * size

    def put(self, row: Row) -> None:
        """Insert an offer, or replace one: then its jobs go on."""
        for name, column in (*self._figures.items(), *self._words.items()):
            column[row.handle] = getattr(row, name)
        if not self._there[row.handle]:
            self._total[row.handle] = row.free
        self._there[row.handle] = True
        self._rows[row.handle] = row

    def drop(self, handle: int) -> None:
        """Forget an offer."""
        self._there[handle] = False
        self._rows[handle] = None

    def row(self, handle: int) -> Row | None:
        """The offer with what is free now."""
        row = self._rows[handle]
        return row and row._replace(free=int(self._figures["free"][handle]))

    def total(self, handle: int) -> int:
        """The slots an offer came with."""
        return self._total[handle]

    def handles(self) -> set[int]:
        """The offers that are there."""
        return {int(handle) for handle in np.flatnonzero(self._there)}

    def expired(self, now: int) -> list[int]:
        """Offers whose time has come."""
        return [int(handle) for handle in np.flatnonzero(self._there & (self._figures["expires"] <= now))]

    def give(self, handle: int, slots: int) -> None:
        """Release slots."""
        self._figures["free"][handle] += slots

    def take(self, bid: Query, handle: int) -> bool:
        """Commit a bid's slots; whether the offer kept every rule and had them."""
        kept = bool(self._fitting(bid)[handle])
        self._figures["free"][handle] -= bid.slots
        return kept and bool(self._figures["free"][handle] >= 0)

    def best(self, bid: Query) -> int:
        """The offer that the bid must get, -1 for none."""
        ranked = []
        for handle in self._nearly_best(bid):
            row = self._rows[handle]
            assert row is not None
            ranked.append((_points(row, bid), _scrambled(row.tie ^ bid.tie), row.id, int(handle)))
        return min(ranked)[-1] if ranked else -1

    def _fitting(self, bid: Query) -> NDArray[np.bool_]:
        f, w = self._figures, self._words
        fitting = self._there & np.isin(f["klass"], bid.classes) & (f["expires"] > bid.now)
        for name, least in (("free", bid.slots), ("vram", bid.vram), ("cpu", bid.cpu), ("memory", bid.memory)):
            fitting &= f[name] >= least
        for name, least in (("disk", bid.disk), ("cuda", bid.cuda), ("driver", bid.driver), ("notice", bid.notice)):
            fitting &= f[name] >= least
        fitting &= (f["reputation"] >= bid.reputation) & (f["price"] <= bid.max_price) & (f["vram"] <= bid.vram_max)
        if bid.max_rtt_us:
            fitting &= (f["rtt_us"] > 0) & (f["rtt_us"] <= bid.max_rtt_us)
        for name, wanted in (("venue", bid.venue), ("region", bid.regions), ("jurisdiction", bid.jurisdictions)):
            fitting &= (w[name] & np.uint64(wanted)) != 0
        fitting &= (~w["runtimes"] & np.uint64(bid.runtimes)) == 0
        fitting &= (w["flags"] & np.uint64(bid.barred)) == 0
        if bid.allow is not None:
            fitting &= np.isin(f["provider"], list(bid.allow))
        return fitting & ~np.isin(f["provider"], list(bid.deny))

    def _nearly_best(self, bid: Query) -> NDArray[np.intp]:
        """Those whose points, in floating point, are within its error of the smallest: one of them is the best."""
        handles = np.flatnonzero(self._fitting(bid))
        if not len(handles):
            return handles
        f = {name: column[handles].astype(float) for name, column in self._figures.items()}
        # Whole milliseconds, rounded down as the rules say; an image counts as there.
        ms = np.minimum(bid.max_ms, bid.work_ms * 1000 // self._figures["speed"][handles] if bid.paced else bid.work_ms)
        moving = bid.moved_mib * self._figures["link"][handles] >> 10
        spent = f["price"] * bid.slots * ms + float(bid.waiting) * moving
        least = 1000.0 * bid.w_cost * (spent * (1 + f["failure"] / 1000) + f["opening"] * _UNIT)
        others = (
            bid.w_speed * (1000 - f["perf"])
            + bid.w_reliability * (1000 - f["reputation"])
            + bid.w_latency * f["latency"]
        )
        least += float(bid.reference) * bid.slots * bid.work_ms * others
        most = least
        if bid.waiting and bid.image_mib:
            fetching = bid.image_mib * self._figures["link"][handles] >> 10
            most = least + 1000.0 * bid.w_cost * float(bid.waiting) * fetching * (1 + f["failure"] / 1000)
        return handles[least <= most.min() * (1 + 1e-9) + 2000.0 * bid.w_cost]


def _points(row: Row, bid: Query) -> int:
    ms = min(bid.max_ms, bid.work_ms * 1000 // row.speed if bid.paced else bid.work_ms)
    fetched = bid.image_mib * (bid.image not in row.images)
    waited = bid.waiting * (fetched * row.link // 1024 + bid.moved_mib * row.link // 1024)
    spent = bid.slots * ms * row.price + waited
    cost = spent + spent * row.failure // 1000 + row.opening * _UNIT
    worse = (1000 - row.perf) * bid.w_speed + (1000 - row.reputation) * bid.w_reliability + row.latency * bid.w_latency
    return 1000 * bid.w_cost * cost + worse * bid.work_ms * bid.slots * bid.reference


def _scrambled(number: int) -> int:
    """The finaliser of SplitMix64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        number = (number ^ number >> shift) * factor % 2**64
    return number
