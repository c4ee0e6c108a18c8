"""The best of the rows that may fit: looks at as few of them as the proof allows.

Rows are looked at in ascending price, at first a handful. What is left then is split by speed. From the lowest price
and the best of everything else among rows of one speed follows the smallest score any of them can have, and how much
worse than that best a row may be; whatever must be behind what was found already is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappushpop
from typing import Final

from market import money
from market.offer_planes import LAST, Layer, Spot
from market.offer_row import Query, Row, mix

_NOTHING: Final = 2**127
"""Above every score."""
_ALL = 2**29
_HANDFUL = 10
"""Rows looked at before anything is split, beyond those asked for: enough for most bids, and cheaper."""
_AT_ONCE = 16
"""Rows looked at between two cuts by what was found."""
EVERYTHING: Final = -1
NO_CARD = 2**30
_OPENING = money.NANO_MS_PER_UNIT


@dataclass(slots=True)
class Best:
    """The best of everything beside the price that any row of a group has to offer, or better."""

    speed: int
    perf: int
    reputation: int
    latency: int
    failure: int
    opening: int

    @classmethod
    def of(cls, row: Row) -> Best:
        """The best of one row."""
        return cls(row.speed, row.perf, row.reputation, row.latency, row.failure, row.opening)

    def widen(self, row: Row) -> None:
        """Take a row into the group. What leaves it does not narrow the bounds: they stay true."""
        self.speed = max(self.speed, row.speed)
        self.perf = max(self.perf, row.perf)
        self.reputation = max(self.reputation, row.reputation)
        self.latency = min(self.latency, row.latency)
        self.failure = min(self.failure, row.failure)
        self.opening = min(self.opening, row.opening)


_Group = tuple[int, Layer, int, Best]
"""The least score any of its rows can have, their layer, the rows as bits, the best of each of their fields."""


def search(query: Query, count: int, layers: list[Layer], bests: dict[int, Best]) -> list[tuple[int, Spot]]:
    """The best rows with their scores, best first.

    Args:
        query: the bid.
        count: how many, at least 1.
        layers: all rows.
        bests: the best of the rows of each speed by its code, and of all rows at :data:`EVERYTHING`.
    """
    hunt = None
    groups: list[_Group] = []
    for layer in layers:
        bits = layer.sieve(query)
        if bits:
            hunt = hunt or _Hunt(query, count)
            bits = hunt.look(layer, bits, bests[EVERYTHING], hunt.handful)
            if bits:
                groups += hunt.split(layer, bits, bests)
    if hunt is None:
        return []
    if groups:
        groups.sort(key=_least, reverse=True)
        while groups and groups[-1][0] <= hunt.bound:
            hunt.look_through(*groups.pop())
    return hunt.found if len(hunt.found) < 2 else hunt.ranked()


class _Hunt:
    """What was found so far. ``bound`` is the score of the last of the ``count`` best: nothing above it matters."""

    __slots__ = ("bound", "count", "found", "handful", "query", "worst")

    def __init__(self, query: Query, count: int) -> None:
        self.query = query
        self.count = count
        self.found: list[tuple[int, Spot]] = []
        self.worst = [-_NOTHING] * count if count > 1 else []
        self.bound = _NOTHING
        simple = not (query.w_speed or query.w_reliability or query.w_latency or query.paced)
        self.handful = _ALL if simple else count + _HANDFUL

    def split(self, layer: Layer, bits: int, bests: dict[int, Best]) -> list[_Group]:
        """The rows by speed, each group with the least score any of its rows can have."""
        query, spots, bound = self.query, layer.spots, self.bound
        going = query.reference * query.slots * query.work_ms
        speed, reliability, latency = query.w_speed * going, query.w_reliability * going, query.w_latency * going
        cost, slots, paced, work_ms, max_ms = 1000 * query.w_cost, query.slots, query.paced, query.work_ms, query.max_ms
        ms = work_ms if work_ms < max_ms else max_ms
        pace, planes = layer.pace, layer.pace_planes
        groups: list[_Group] = []
        while bits:
            place = bits.bit_length() - 1
            code = pace[-1 - place]
            best = bests[code]
            same = planes.get(code)
            if same is None:
                same = layer.of_pace(code)
            if paced:
                ms = min(max_ms, work_ms * 1000 // best.speed)
            compute = spots[place].price * slots * ms
            least = (
                cost * (compute + compute * best.failure // 1000 + best.opening * _OPENING)
                + speed * (1000 - best.perf)
                + reliability * (1000 - best.reputation)
                + latency * best.latency
            )
            if least <= bound:
                groups.append((least, layer, bits & same, best))
            bits &= ~same
        return groups

    def look_through(self, least: int, layer: Layer, bits: int, best: Best) -> None:
        """Look at the rows of a group, a few at once; in between leave out those with too little reputation."""
        query = self.query
        per_permille = query.reference * query.slots * query.work_ms * query.w_reliability
        while bits and least <= self.bound:
            if per_permille:
                needed = best.reputation - (self.bound - least) // per_permille
                if needed > 0:
                    bits &= layer.reputable(needed)
            bits = self.look(layer, bits, best, _AT_ONCE)

    def look(self, layer: Layer, bits: int, best: Best, most: int) -> int:
        """Look at rows in ascending price until ``most`` were seen or none can be better; returns those left."""
        query = self.query
        (_, now, classes, _, max_price, slots, vram, vram_max, cpu, memory, disk, cuda, driver, notice, reputation,
         max_rtt_us, _, _, _, _, allow, deny, work_ms, paced, max_ms, image, image_mib, moved_mib, waiting, reference,
         w_cost, w_speed, w_reliability, w_latency) = query  # fmt: skip
        special = deny or allow is not None or vram_max < NO_CARD or not 0 < slots < 16 or classes[-1] > LAST
        w_cost *= 1000
        job_ms = work_ms * 1000 // best.speed if paced else work_ms
        if job_ms > max_ms:
            job_ms = max_ms
        slope = w_cost * slots * job_ms * (1000 + best.failure)
        floor = w_cost * (best.opening * _OPENING - 1)
        going = 0
        if w_speed or w_reliability or w_latency:
            going = reference * slots * work_ms
            floor += going * (
                w_speed * (1000 - best.perf) + w_reliability * (1000 - best.reputation) + w_latency * best.latency
            )
        spots, bound = layer.spots, self.bound
        stop = max_price
        if slope and self.found:
            highest = ((bound - floor) * 1000 - 1) // slope
            if highest < stop:
                stop = highest
        moved = waiting and (image_mib or moved_mib)
        while bits and most:
            place = bits.bit_length() - 1
            spot = spots[place]
            price = spot.price
            if price > stop:
                return 0
            bits ^= 1 << place
            most -= 1
            if (
                spot.reputation < reputation or (max_rtt_us and not 0 < spot.rtt_us <= max_rtt_us) or spot.cpu < cpu
                or spot.memory < memory or spot.vram < vram or spot.expires <= now or spot.notice < notice
                or (disk and spot.disk < disk) or (cuda and spot.cuda < cuda) or (driver and spot.driver < driver)
                or ((special or spot.special) and not spot.suits(query))
            ):  # fmt: skip
                continue
            cost = price * slots * (min(max_ms, work_ms * 1000 // spot.speed) if paced else job_ms)
            if moved:
                absent = 0 if image in spot.images else image_mib
                cost += waiting * (absent * spot.link >> 10) + waiting * (moved_mib * spot.link >> 10)
            points = w_cost * (cost + cost * spot.failure // 1000 + spot.opening * _OPENING)
            if going:
                points += going * (
                    w_speed * (1000 - spot.perf) + w_reliability * (1000 - spot.reputation) + w_latency * spot.latency
                )
            if points <= bound:
                self.found.append((points, spot))
                if self.count == 1:
                    bound = self.bound = points
                else:
                    heappushpop(self.worst, -points)
                    bound = self.bound = -self.worst[0]
                if slope:
                    highest = ((bound - floor) * 1000 - 1) // slope
                    if highest < stop:
                        stop = highest
        return bits

    def ranked(self) -> list[tuple[int, Spot]]:
        """Of what was found the best, with equal scores in the order of the auction."""
        found, count = self.found, self.count
        if count == 1 and found[-1][0] < found[-2][0]:
            return found[-1:]
        best = [one for one in found if one[0] <= self.bound]
        best.sort(key=_score)
        if len({points for points, _ in best}) < len(best):
            tie = self.query.tie
            best.sort(key=lambda one: (one[0], mix(one[1].row.tie ^ tie), one[1].row.id))
        return best[:count]


def _least(group: _Group) -> int:
    return group[0]


def _score(one: tuple[int, Spot]) -> int:
    return one[0]
