"""The best of the rows that may fit, found by looking at few of them and proving the rest worse.

Rows are looked at in ascending price, at first a handful. What is left then is split by speed. From the lowest price
and the best of everything else among the rows of one speed follows the smallest score any of them can have, and how
much worse than that best a row may be; what must come behind the rows found already is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from market import money
from market.offer_planes import LAST, MANY, NO_CARD, Layer, Spot
from market.offer_row import Query, Row, mix

EVERYTHING: Final = -1
"""Where the best of all rows is kept, beside the codes of speeds."""
_NOTHING: Final = 2**127
"""Above every score."""
_HANDFUL = 10
"""Rows looked at before anything is split, beyond those asked for: enough for most bids, and cheaper."""
_AT_ONCE = 12
"""Rows of a group looked at before those left are thinned out again."""
_ALL = 2**29
_first = itemgetter(0)
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
        if row.speed > self.speed:
            self.speed = row.speed
        if row.perf > self.perf:
            self.perf = row.perf
        if row.reputation > self.reputation:
            self.reputation = row.reputation
        if row.latency < self.latency:
            self.latency = row.latency
        if row.failure < self.failure:
            self.failure = row.failure
        if row.opening < self.opening:
            self.opening = row.opening


_Bounds = tuple[int, int, int]
"""Of a group: the least a score can be whatever the price; what it grows by per nanotoken of price, times 1000; and
the failures with which it grows by just that much (permille above 1000), 0 where there is more to it."""
_Group = tuple[int, _Bounds, int, int, Layer]
"""The least score any of its rows can have, its bounds, its best reputation, its rows as bits, their layer."""


def search(query: Query, count: int, layers: list[Layer], bests: dict[int, Best]) -> list[tuple[int, Spot]]:
    """The best rows with their scores, best first.

    Args:
        query: the bid.
        count: how many, at least 1.
        layers: all rows.
        bests: the best of the rows of each speed by its code, and of all rows at :data:`EVERYTHING`.
    """
    if count == 1 and layers and (found := _cheapest(query, layers, bests[EVERYTHING])) is not None:
        return found
    hunt = None
    groups: list[_Group] = []
    for layer in layers:
        bits = layer.sieve(query)
        if bits:
            hunt = hunt or _Hunt(query, count)
            if not hunt.weighs:
                hunt.look_by_price(layer, bits, bests[EVERYTHING])
                continue
            bits = hunt.look(layer, bits, hunt.bounds(bests[EVERYTHING]), count + _HANDFUL)
            if bits:
                groups += hunt.split(layer, bits, bests)
    if hunt is None:
        return []
    if groups:
        groups.sort(key=_first, reverse=True)
        while groups and groups[-1][0] <= hunt.bound:
            hunt.look_through(groups.pop())
    return hunt.found if len(hunt.found) < 2 else hunt.ranked()


def _cheapest(query: Query, layers: list[Layer], best: Best) -> list[tuple[int, Spot]] | None:
    """The best row for a bid that weighs nothing but the price: what most bids are, by the shortest way. None for a
    bid that weighs more, which :class:`_Hunt` is for."""
    (tie, now, classes, _, stop, slots, vram, vram_max, cpu, memory, disk, cuda, driver, notice, reputation,
     max_rtt_us, _, _, _, _, allow, deny, work_ms, paced, max_ms, _, image_mib, moved_mib, waiting, _, w_cost, w_speed,
     w_reliability, w_latency) = query  # fmt: skip
    if paced or w_speed or w_reliability or w_latency or (waiting and (image_mib or moved_mib)):
        return None
    if not classes:
        return []
    special = allow is not None or vram_max < NO_CARD or not 0 < slots < MANY or classes[-1] > LAST
    wishes = reputation, max_rtt_us, cpu, memory, vram, now, notice, disk, cuda, driver, deny, special
    w_cost *= 1000
    unit = slots * (work_ms if work_ms < max_ms else max_ms)
    least_risk, least_opening = 1000 + best.failure, best.opening * _OPENING
    bound, found = _NOTHING, list[tuple[int, Spot]]()
    for layer in layers:
        bits, spots = layer.sieve(query), layer.spots
        while bits:
            place = bits.bit_length() - 1
            spot = spots[place]
            price = spot.price
            if price > stop:
                break
            bits ^= 1 << place
            points = w_cost * (price * unit * spot.risk // 1000 + spot.opening)
            if points > bound or not _fits(spot, wishes, query):
                continue
            if points < bound:
                bound, found = points, []
                if spot.risk == least_risk and spot.opening == least_opening and w_cost and unit > 1000:
                    # None is better in anything else, so a dearer row costs more.
                    stop = price
                elif slope := w_cost * unit * least_risk:
                    # The cost is rounded down once: a nanoms below it is a bound without rounding.
                    stop = min(stop, ((bound - w_cost * (least_opening - 1)) * 1000 - 1) // slope)
            found.append((points, spot))
    if len(found) > 1:
        found.sort(key=lambda one: (mix(one[1].row.tie ^ tie), one[1].row.id))
    return found[:1]


_Wishes = tuple[int, int, int, int, int, int, int, int, int, int, frozenset[int], bool]
"""What a bid wants of a row beyond what the planes settle; see :func:`_fits` for the order."""


def _fits(spot: Spot, wishes: _Wishes, query: Query) -> bool:
    """Whether a row fits that the planes let through: they are coarser than the values."""
    reputation, max_rtt_us, cpu, memory, vram, now, notice, disk, cuda, driver, deny, special = wishes
    return not (
        spot.reputation < reputation
        or (max_rtt_us and not 0 < spot.rtt_us <= max_rtt_us)
        or spot.cpu < cpu
        or spot.memory < memory
        or spot.vram < vram
        or spot.expires <= now
        or spot.notice < notice
        or (disk and spot.disk < disk)
        or (cuda and spot.cuda < cuda)
        or (driver and spot.driver < driver)
        or (deny and spot.provider in deny)
        or ((special or spot.special) and not spot.suits(query))
    )


class _Hunt:
    """What was found so far. ``bound`` is the score of the last of the ``count`` best: nothing above it matters."""

    __slots__ = (
        "_by_price", "_count", "_per_permille", "_prices", "_query", "_wishes", "bound", "found", "weighs",
    )  # fmt: skip

    def __init__(self, query: Query, count: int) -> None:
        (_, now, classes, _, max_price, slots, vram, vram_max, cpu, memory, disk, cuda, driver, notice, reputation,
         max_rtt_us, _, _, _, _, allow, deny, work_ms, paced, max_ms, image, image_mib, moved_mib, waiting, reference,
         w_cost, w_speed, w_reliability, w_latency) = query[:]  # fmt: skip
        self._query = query
        self._count = count
        self.bound = _NOTHING
        self.found: list[tuple[int, Spot]] = []
        special = allow is not None or vram_max < NO_CARD or not 0 < slots < MANY or classes[-1] > LAST
        moved = waiting and (image_mib or moved_mib)
        weighted = w_speed or w_reliability or w_latency
        job_ms = work_ms if work_ms < max_ms else max_ms
        self._wishes = reputation, max_rtt_us, cpu, memory, vram, now, notice, disk, cuda, driver, deny, special
        self.weighs = bool(weighted or paced or moved)
        if not self.weighs:
            self._by_price = max_price, slots * job_ms, 1000 * w_cost
            return
        going = reference * slots * work_ms if weighted else 0
        self._per_permille = going * w_reliability
        self._prices = (
            max_price, slots, job_ms, paced, work_ms, max_ms, moved, image, image_mib, moved_mib, waiting,
            1000 * w_cost, going, w_speed, w_reliability, w_latency, 1000 * (w_speed + w_reliability),
        )  # fmt: skip

    def look_by_price(self, layer: Layer, bits: int, best: Best) -> None:
        """Look at rows for a bid that weighs nothing but their price: the short way to what :meth:`look` would find."""
        stop, unit, w_cost = self._by_price
        spots, found, count, bound = layer.spots, self.found, self._count, self.bound
        wishes, query = self._wishes, self._query
        risk = 1000 + best.failure
        slope = w_cost * unit * risk
        floor = w_cost * (best.opening * _OPENING - 1)
        room = count
        if slope and bound < _NOTHING:
            stop = min(stop, ((bound - floor) * 1000 - 1) // slope)
        while bits:
            place = bits.bit_length() - 1
            spot = spots[place]
            price = spot.price
            if price > stop:
                break
            bits ^= 1 << place
            points = w_cost * (price * unit * spot.risk // 1000 + spot.opening)
            if points <= bound and _fits(spot, wishes, query):
                found.append((points, spot))
                if len(found) >= room:
                    bound = self._trim()
                    # A market of equal tags keeps them all: sorted at every one, they would cost their square.
                    room = 2 * len(found)
                    if slope:
                        stop = min(stop, ((bound - floor) * 1000 - 1) // slope)
        if len(found) >= count:
            self._trim()

    def bounds(self, best: Best) -> _Bounds:
        """What the best of a group says of the scores in it."""
        (_, slots, ms, paced, work_ms, max_ms, moved, _, _, _, _, w_cost, going, w_speed, w_reliability, w_latency,
         worst) = self._prices  # fmt: skip
        if paced:
            ms = min(max_ms, work_ms * 1000 // best.speed)
        risk = 1000 + best.failure
        unit = slots * ms * risk
        # The cost is rounded down once: a nanoms below it is a bound without rounding.
        floor = w_cost * (best.opening * _OPENING - 1)
        if going:
            floor += going * (worst - w_speed * best.perf - w_reliability * best.reputation + w_latency * best.latency)
        return floor, w_cost * unit, 0 if moved or paced or unit % 1000 else risk

    def split(self, layer: Layer, bits: int, bests: dict[int, Best]) -> list[_Group]:
        """The rows by speed, without those that cannot be among the best."""
        groups: list[_Group] = []
        spots, paces, column = layer.spots, layer.paces, layer.paces.column
        while bits:
            place = bits.bit_length() - 1
            code = column[-1 - place]
            same = paces[code]
            bounds = self.bounds(bests[code])
            least = bounds[0] + spots[place].price * bounds[1] // 1000
            if least <= self.bound:
                groups.append((least, bounds, bests[code].reputation, bits & same, layer))
            bits &= ~same
        return groups

    def look_through(self, group: _Group) -> None:
        """Look at a group, a few rows at once. In between leave out those with too little reputation: the dearer the
        rows that are left, the more of it they need."""
        _, bounds, reputation, bits, layer = group
        floor, slope, _ = bounds
        spots, per_permille = layer.spots, self._per_permille
        while bits:
            if per_permille:
                least = floor + spots[bits.bit_length() - 1].price * slope // 1000
                needed = reputation - (self.bound - least) // per_permille
                if needed > reputation:
                    return
                if needed > 0:
                    bits &= layer.reputable(needed)
            bits = self.look(layer, bits, bounds, _AT_ONCE)

    def look(self, layer: Layer, bits: int, bounds: _Bounds, most: int) -> int:
        """Look at rows in ascending price until ``most`` were seen or none can be better; returns those left."""
        (stop, slots, job_ms, paced, work_ms, max_ms, moved, image, image_mib, moved_mib, waiting, w_cost, going,
         w_speed, w_reliability, w_latency, worst) = self._prices  # fmt: skip
        floor, slope, risk = bounds
        spots, found, bound, single = layer.spots, self.found, self.bound, self._count == 1
        wishes, query, step = self._wishes, self._query, slope // 1000
        if slope and bound < _NOTHING:
            stop = min(stop, ((bound - floor) * 1000 - 1) // slope)
        while bits and most:
            place = bits.bit_length() - 1
            spot = spots[place]
            price = spot.price
            if price > stop:
                bits = 0
                break
            bits ^= 1 << place
            most -= 1
            if spot.risk == risk:
                points = price * step + (w_cost * spot.opening if spot.opening else 0)
            else:
                cost = price * slots * (min(max_ms, work_ms * 1000 // spot.speed) if paced else job_ms)
                if moved:
                    absent = 0 if image in spot.images else image_mib
                    cost += waiting * ((absent * spot.link >> 10) + (moved_mib * spot.link >> 10))
                points = w_cost * (cost * spot.risk // 1000 + spot.opening)
            if going:
                points += going * (
                    worst - w_speed * spot.perf - w_reliability * spot.reputation + w_latency * spot.latency
                )
            if points <= bound and _fits(spot, wishes, query):
                found.append((points, spot))
                if single:
                    bound = points
                    if slope:
                        stop = min(stop, ((bound - floor) * 1000 - 1) // slope)
        self.bound = bound
        if not single and len(found) >= self._count:
            self._trim()
        return bits

    def _trim(self) -> int:
        """Leave the best, and what is as good as the last of them; returns the bound."""
        found, count = self.found, self._count
        found.sort(key=_first)
        self.bound = bound = found[count - 1][0]
        while found[-1][0] > bound:
            found.pop()
        return bound

    def ranked(self) -> list[tuple[int, Spot]]:
        """What was found, with equal scores in the order of the auction."""
        found, tie = self.found, self._query.tie
        found.sort(key=_first)
        if len({points for points, _ in found}) < len(found):
            found.sort(key=lambda one: (one[0], mix(one[1].row.tie ^ tie), one[1].row.id))
        return found[: self._count]
