"""Rows as columns of bits: which of them can fit a bid takes a few operations on long integers.

A :class:`Layer` holds rows by price. Every tested field is one byte per row, a *code* that never falls as the field
grows (or that names its value). A *plane* is an integer with one bit per row, set where the code is one of those that
can fit; it is made when it is first asked for. The cheapest row has the highest bit. The planes of a bid anded leave
out only rows that cannot fit; codes are coarser than values, so whoever asks looks once more at what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable
from typing import Final

from market.offer_row import ALL, Query, Row

Kinds = dict[tuple[int, int, int], int]
"""The code of every (venue, flags, runtimes) seen; the last code stands for all that came after."""

LAST: Final = 255
_MAX_PLANES, _MAX_VALUES = 256, 4096
"""Planes kept per column of names, values per column of numbers (these share planes): a stranger's bid chooses them,
and must not fill the memory."""
_COARSE = 4
"""Bits of a reputation that its code leaves out."""


def level(value: int) -> int:
    """A code from 0 to 254: exact below 16, then eight steps to each doubling."""
    if value < 16:
        return value
    shift = value.bit_length() - 4
    return min(LAST - 1, (shift << 3) + (value >> shift))


def _at_most(value: int) -> int:
    return LAST - level(value)


def _measured_at_most(value: int) -> int:
    return LAST - level(value) if value else 0


def _permille(value: int) -> int:
    return value >> _COARSE


_CODERS: tuple[Callable[[int], int], ...] = (level, _at_most, *[level] * 6, _permille, _measured_at_most)
"""How VRAM, VRAM at most, CPU, memory, disk, CUDA, driver, notice, reputation and round trip become codes: the order
is that of :class:`Query`, and where an offer fits, its code is at least the bid's."""
_WANTED = slice(Query._fields.index("vram"), Query._fields.index("max_rtt_us") + 1)
_GIVEN = slice(Row._fields.index("vram"), Row._fields.index("rtt_us") + 1)
_REPUTATION = 8
_CLASS, KIND, _REGION, _LAW, _OWNER, _PACE = range(len(_CODERS), len(_CODERS) + 6)
"""The columns whose codes name values. Pace is speed: rows of one pace are compared by their price."""


class Spot:
    """Where a row lies, how many of its slots are free (below 0 once it has left), and what is read of it most often:
    an attribute is read quicker than a field of a tuple."""

    __slots__ = (
        "codes",
        "cpu",
        "cuda",
        "disk",
        "driver",
        "expires",
        "failure",
        "free",
        "images",
        "klass",
        "latency",
        "layer",
        "link",
        "memory",
        "notice",
        "opening",
        "perf",
        "place",
        "price",
        "prices",
        "provider",
        "reputation",
        "row",
        "rtt_us",
        "special",
        "speed",
        "vram",
    )  # fmt: skip

    def __init__(self, row: Row) -> None:
        self.free = 0
        self.codes = b""
        self.layer: Layer | None = None
        self.prices: list[int] = []
        self.place = 0
        self.special = False
        self.hold(row)

    def hold(self, row: Row) -> None:
        """Take on another row; its free slots are not looked at."""
        self.row = row
        (_, _, _, self.provider, self.klass, self.expires, self.price, _, self.vram, self.cpu, self.memory, self.disk,
         self.cuda, self.driver, self.notice, self.reputation, self.rtt_us, self.latency, _, _, _, _, _, self.speed,
         self.perf, self.link, self.failure, self.opening, self.images) = row  # fmt: skip

    def suits(self, query: Query) -> bool:
        """Whether what is seldom asked for holds: lists of owners, many slots, a most of VRAM, names beyond codes."""
        row = self.row
        return (
            self.free >= query.slots
            and row.klass in query.classes
            and row.vram <= query.vram_max
            and row.provider not in query.deny
            and (query.allow is None or row.provider in query.allow)
            and bool(row.venue & query.venue)
            and not row.flags & query.barred
            and row.runtimes & query.runtimes == query.runtimes
        )


def codes_of(row: Row, kinds: Kinds) -> bytes:
    """The code of every column. Rows with the same codes and price can take each other's place."""
    kind = row.venue, row.flags, row.runtimes
    given = zip(_CODERS, (row.vram, *row[_GIVEN]), strict=True)
    named = (
        row.klass & LAST,
        kinds.setdefault(kind, len(kinds)) if len(kinds) < LAST else kinds.get(kind, LAST),
        row.region.bit_length(),
        row.jurisdiction.bit_length(),
        row.provider & LAST,
        level(row.speed),
    )
    return bytes([coder(value) for coder, value in given]) + bytes(named)


class Layer:
    """Rows whose order does not change; what is free of them does. ``spots`` lie by descending price, bit by bit."""

    __slots__ = (
        "_by_code",
        "_columns",
        "_free",
        "_free_planes",
        "_kinds",
        "_nowhere",
        "_planes",
        "pace",
        "pace_planes",
        "spots",
    )

    def __init__(self, spots: list[Spot], kinds: Kinds) -> None:
        self.spots = sorted(spots, key=_price, reverse=True)
        self._kinds = kinds
        # The first character of a binary number is its highest bit: columns lie the other way round than spots.
        columns = list(zip(*[spot.codes for spot in reversed(self.spots)], strict=True))
        self._columns = [bytes(column) for column in columns] or [b""] * (_PACE + 1)
        self._free = bytearray([level(spot.free) for spot in reversed(self.spots)])
        self._nowhere = 0 in self._columns[_REGION] or 0 in self._columns[_LAW]
        self._free_planes: dict[int, int] = {}
        self._planes: list[dict[Hashable, int]] = [{} for _ in self._columns]
        self._by_code: list[dict[int, int]] = [{} for _ in _CODERS]
        self.pace, self.pace_planes = self._columns[_PACE], self._planes[_PACE]
        for place, spot in enumerate(self.spots):
            spot.layer, spot.place = self, place

    def set_free(self, place: int, was: int, free: int) -> None:
        """Note how many slots of the row in that place are free now, and were before."""
        before = was if was < 16 else level(was)
        after = free if free < 16 else level(free)
        self._free[-1 - place] = after
        planes = self._free_planes
        for code in planes:
            if before < code <= after or after < code <= before:
                planes[code] ^= 1 << place

    def sieve(self, query: Query) -> int:
        """The rows that may fit, as bits; those left out do not."""
        planes = self._planes
        code = query.slots if query.slots < 16 else level(query.slots)
        bits = self._free_planes.get(code)
        if bits is None:
            bits = self._free_planes[code] = _plane(self._free, range(code, LAST + 1))
        known = planes[_CLASS].get(query.classes)
        bits &= self._remember(_CLASS, query.classes, _last_bits(query.classes)) if known is None else known
        if query.regions != ALL or self._nowhere:
            known = planes[_REGION].get(query.regions)
            bits &= self._remember(_REGION, query.regions, _bits(query.regions)) if known is None else known
        if not bits:
            return 0
        for known_values, value in zip(planes, query[_WANTED]):  # noqa: B905 (only the first columns hold numbers)
            if value:
                known = known_values.get(value)
                bits &= self._at_least(known_values, value) if known is None else known
        if query.jurisdictions != ALL or self._nowhere:
            known = planes[_LAW].get(query.jurisdictions)
            bits &= self._remember(_LAW, query.jurisdictions, _bits(query.jurisdictions)) if known is None else known
        kind = query.venue, query.barred, query.runtimes
        known = planes[KIND].get(kind)
        bits &= self._of_kind(kind) if known is None else known
        if query.allow is not None:
            known = planes[_OWNER].get(query.allow)
            bits &= self._remember(_OWNER, query.allow, _last_bits(query.allow)) if known is None else known
        return bits

    def reputable(self, reputation: int) -> int:
        """The rows that may have at least that reputation, as bits."""
        known = self._planes[_REPUTATION].get(reputation)
        return self._at_least(self._planes[_REPUTATION], reputation) if known is None else known

    def of_pace(self, code: int) -> int:
        """The rows whose speed has that code, as bits."""
        return self._remember(_PACE, code, (code,))

    def _at_least(self, planes: dict[Hashable, int], value: int) -> int:
        """Many values share a code, and all values of a code its plane."""
        column = next(index for index, one in enumerate(self._planes) if one is planes)
        code = _CODERS[column](value)
        known = self._by_code[column]
        if code not in known:
            known[code] = _plane(self._columns[column], range(code, LAST + 1))
        if len(planes) >= _MAX_VALUES:
            planes.clear()
        planes[value] = known[code]
        return known[code]

    def _of_kind(self, wanted: tuple[int, int, int]) -> int:
        venues, barred, runtimes = wanted
        fit = {
            code
            for (venue, flags, offered), code in self._kinds.items()
            if venue & venues and not flags & barred and offered & runtimes == runtimes
        }
        return self._remember(KIND, wanted, fit | {LAST})

    def _remember(self, column: int, key: Hashable, codes: Container[int]) -> int:
        planes = self._planes[column]
        if len(planes) >= _MAX_PLANES:
            planes.clear()
        planes[key] = plane = _plane(self._columns[column], codes)
        return plane


def _plane(column: bytes | bytearray, codes: Container[int]) -> int:
    digits = column.translate(bytes([48 + (code in codes) for code in range(LAST + 1)]))
    return int(digits, 2) if digits else 0


def _bits(mask: int) -> Container[int]:
    """The codes of the single bits that a mask lets through; a row without any bit has code 0."""
    return {bit + 1 for bit in range(64) if mask >> bit & 1}


def _last_bits(numbers: Iterable[int]) -> Container[int]:
    """The codes of classes and owners."""
    return {number & LAST for number in numbers}


def _price(spot: Spot) -> int:
    return spot.row.price
