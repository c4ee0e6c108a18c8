"""Rows as columns of bits: which of them can fit a bid takes a few operations on long integers.

A :class:`Layer` holds rows by price. Every tested field is one byte per row, a *code* that never falls as the field
grows (or that names its value). A *plane* is an integer with one bit per row, set where the code is one of those that
can fit; it is made when it is first asked for. The cheapest row has the highest bit. The planes of a bid anded leave
out only rows that cannot fit; codes are coarser than values, so whoever asks looks once more at what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from market import money
from market.offer_row import ALL, Query, Row

Kinds = dict[tuple[int, int, int], int]
"""The code of every (venue, flags, runtimes) seen; the last code stands for all that came after."""

LAST: Final = 255
MANY: Final = 16
"""From so many free slots on their code is coarse, too."""
NO_CARD: Final = 2**30
"""More VRAM than any card has, in MiB: a limit that is none."""
_MOST_KEYS = 256
_MOST_VALUES = 4096
"""Keys kept per column. A stranger's bid chooses them, and must not fill the memory; values share planes, names do
not."""
_COARSE = 4
"""Bits of a reputation that its code leaves out."""


def level(value: int) -> int:
    """A code from 0 to 254: exact below 16, then eight steps to each doubling."""
    if value < MANY:
        return value
    shift = value.bit_length() - 4
    return min(LAST - 1, (shift << 3) + (value >> shift))


def _at_most(value: int) -> int:
    return LAST - level(value)


def _measured_at_most(value: int) -> int:
    return LAST - level(value) if value else 0


def _permille(value: int) -> int:
    return min(LAST, value >> _COARSE)


_CODERS: tuple[Callable[[int], int], ...] = (level, _at_most) + (level,) * 6 + (_permille, _measured_at_most)
"""How VRAM, VRAM at most, CPU, memory, disk, CUDA, driver, notice, reputation and round trip become codes: the order
is that of :class:`Query`, and where an offer fits, its code is at least the bid's."""
_NUMBERS = len(_CODERS)
_CLASS, KIND, _REGION, _LAW, _OWNER, _PACE = range(_NUMBERS, _NUMBERS + 6)
_WIDTH = _PACE + 1
"""The columns whose codes name values. Pace is speed: rows of one pace are compared by their price."""


class Spot:
    """Where a row lies, how many of its slots are free (below 0 once it has left), and what is read of it most often:
    an attribute is read quicker than a field of a tuple."""

    __slots__ = (
        "codes", "cpu", "cuda", "disk", "driver", "expires", "free", "images", "latency", "layer", "link", "memory",
        "notice", "opening", "perf", "place", "price", "prices", "provider", "reputation", "risk", "row", "rtt_us",
        "special", "speed", "vram",
    )  # fmt: skip

    def __init__(self, row: Row, prices: list[int]) -> None:
        self.free = 0
        self.prices = prices
        """Of the free rows of the same class, ascending."""
        self.codes = b""
        self.layer: Layer | None = None
        self.place = 0
        self.special = False
        """Whether its codes do not tell it from others, so that :meth:`suits` must be asked."""
        self.hold(row)

    def hold(self, row: Row) -> None:
        """Take on another row; its free slots are not looked at."""
        self.row = row
        (_, _, _, self.provider, _, self.expires, self.price, _, self.vram, self.cpu, self.memory, self.disk, self.cuda,
         self.driver, self.notice, self.reputation, self.rtt_us, self.latency, _, _, _, _, _, self.speed, self.perf,
         self.link, failure, opening, self.images) = row  # fmt: skip
        self.risk, self.opening = 1000 + failure, opening * money.NANO_MS_PER_UNIT

    def code(self, kinds: Kinds) -> None:
        """Give it its codes. Rows with the same codes and price can take each other's place."""
        self.codes = codes_of(self.row, kinds)
        self.special = self.codes[KIND] == LAST or self.row.klass > LAST or self.vram >= NO_CARD

    def suits(self, query: Query) -> bool:
        """Whether that holds which is seldom asked for: owners allowed, many slots, VRAM at most, names without a code
        of their own."""
        row = self.row
        return (
            self.free >= query.slots
            and row.klass in query.classes
            and row.vram <= query.vram_max
            and (query.allow is None or row.provider in query.allow)
            and bool(row.venue & query.venue)
            and not row.flags & query.barred
            and row.runtimes & query.runtimes == query.runtimes
        )


def codes_of(row: Row, kinds: Kinds) -> bytes:
    """The code of every column."""
    kind = row.venue, row.flags, row.runtimes
    numbers = zip(_CODERS, (row.vram, *row[8:17]), strict=True)
    names = (
        row.klass & LAST,
        kinds.setdefault(kind, len(kinds)) if len(kinds) < LAST else kinds.get(kind, LAST),
        row.region.bit_length(),
        row.jurisdiction.bit_length(),
        row.provider & LAST,
        level(row.speed),
    )
    return bytes([coder(value) for coder, value in numbers]) + bytes(names)


class _Planes(dict[Any, int]):
    """The planes of one column by what is asked of it, made when they are."""

    __slots__ = ("_table", "column")

    def __init__(self, column: bytes | bytearray, table: Callable[[Any], bytes]) -> None:
        super().__init__()
        self.column = column
        self._table = table

    def __missing__(self, key: Any) -> int:
        if len(self) >= _MOST_KEYS:
            self.clear()
        self[key] = plane = int(self.column.translate(self._table(key)), 2)
        return plane


class _Numbers(_Planes):
    """Planes by the value asked for; all values of one code share theirs."""

    __slots__ = ("_by_code", "_coder")

    def __init__(self, column: bytes, coder: Callable[[int], int]) -> None:
        super().__init__(column, _from)
        self._by_code = _Planes(column, _from)
        self._coder = coder

    def __missing__(self, key: Any) -> int:
        if len(self) >= _MOST_VALUES:
            self.clear()
        self[key] = plane = self._by_code[self._coder(key)]
        return plane


class Layer:
    """Rows whose order does not change; what is free of them does. ``spots`` lie by descending price, bit by bit."""

    __slots__ = (
        "_classes",
        "_free",
        "_kinds",
        "_laws",
        "_nowhere",
        "_numbers",
        "_owners",
        "_regions",
        "paces",
        "spots",
    )

    def __init__(self, spots: Iterable[Spot], kinds: Kinds) -> None:
        self.spots = sorted(spots, key=_price, reverse=True)
        # The first digit of a number is its highest: columns lie the other way round than spots.
        codes = b"".join([spot.codes for spot in reversed(self.spots)])
        columns = [codes[column::_WIDTH] for column in range(_WIDTH)]
        self._numbers = tuple(_Numbers(column, coder) for column, coder in zip(columns, _CODERS, strict=False))
        self._classes = _Planes(columns[_CLASS], _low_bytes)
        self._kinds = _Planes(columns[KIND], lambda wanted: _kinds_of(kinds, *wanted))
        self._regions = _Planes(columns[_REGION], _bits)
        self._laws = _Planes(columns[_LAW], _bits)
        self._owners = _Planes(columns[_OWNER], _low_bytes)
        self.paces = _Planes(columns[_PACE], _just)
        """The rows of each code of speed, as bits; the codes are its column."""
        self._free = _Planes(
            bytearray([spot.free if spot.free < MANY else level(spot.free) for spot in reversed(self.spots)]), _from
        )
        self._nowhere = 0 in columns[_REGION] or 0 in columns[_LAW]
        for place, spot in enumerate(self.spots):
            spot.layer, spot.place = self, place

    def set_free(self, place: int, was: int, free: int) -> None:
        """Note how many slots of the row in that place are free now, and were before."""
        before = was if was < MANY else level(was)
        after = free if free < MANY else level(free)
        planes = self._free
        planes.column[-1 - place] = after  # type: ignore[index]
        for code in planes:
            if before < code <= after or after < code <= before:
                planes[code] ^= 1 << place

    def sieve(self, query: Query) -> int:
        """The rows that may fit, as bits; those left out do not."""
        (_, _, classes, venue, _, slots, vram, vram_max, cpu, memory, disk, cuda, driver, notice, reputation,
         max_rtt_us, regions, laws, runtimes, barred, allow) = query[:21]  # fmt: skip
        bits = self._free[slots if slots < MANY else level(slots)] & self._classes[classes]
        if regions != ALL or self._nowhere:
            bits &= self._regions[regions]
        if not bits:
            return 0
        by_vram, by_most, by_cpu, by_memory, by_disk, by_cuda, by_driver, by_notice, by_reputation, by_rtt = (
            self._numbers
        )
        bits &= self._kinds[venue, barred, runtimes]
        if reputation:
            bits &= by_reputation[reputation]
        if cpu:
            bits &= by_cpu[cpu]
        if memory:
            bits &= by_memory[memory]
        if max_rtt_us:
            bits &= by_rtt[max_rtt_us]
        if vram:
            bits &= by_vram[vram]
        if notice:
            bits &= by_notice[notice]
        if disk:
            bits &= by_disk[disk]
        if cuda or driver:
            bits &= by_cuda[cuda] & by_driver[driver]
        if vram_max < NO_CARD:
            bits &= by_most[vram_max]
        if laws != ALL or self._nowhere:
            bits &= self._laws[laws]
        return bits if allow is None else bits & self._owners[allow]

    def reputable(self, reputation: int) -> int:
        """The rows that may have at least that reputation, as bits."""
        return self._numbers[_CODERS.index(_permille)][reputation]


def _table(codes: Iterable[int]) -> bytes:
    """What every code becomes in a plane: a digit 1 for those named."""
    table = bytearray(b"0" * (LAST + 1))
    for code in codes:
        table[code] = _ONE
    return bytes(table)


_ONE = ord("1")


def _from(code: int) -> bytes:
    return b"0" * code + b"1" * (LAST + 1 - code)


def _just(code: int) -> bytes:
    return _table((code,))


def _low_bytes(numbers: Iterable[int]) -> bytes:
    return _table(number & LAST for number in numbers)


def _bits(mask: int) -> bytes:
    """The codes of the single bits that a mask lets through; a row without any bit has code 0."""
    return _table(bit + 1 for bit in range(64) if mask >> bit & 1)


def _kinds_of(kinds: Kinds, venues: int, barred: int, runtimes: int) -> bytes:
    fitting = (
        code
        for (venue, flags, offered), code in kinds.items()
        if venue & venues and not flags & barred and offered & runtimes == runtimes
    )
    return _table((*fitting, LAST))


def _price(spot: Spot) -> int:
    return spot.row.price
