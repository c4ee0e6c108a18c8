"""Offers and bids as plain integers, and the two functions that define the auction: does it fit, and what is its score.

This page is the specification. :class:`Row` is a compiled offer with what is known of its provider, :class:`Query` a
compiled bid with its private limits; :mod:`market.offer_book` makes both. Any index, in Python or in C, must find
exactly what :func:`scan` finds by looking at every row.

*Units*: prices nanotokens per GPU-second, times milliseconds, costs *nanoms*: price times milliseconds, as
:func:`market.money.amount_due` reads them (``money.NANO_MS_PER_UNIT`` of them are one token unit). Everything is an
integer that fits into 64 bits, and every score into 127.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from market import money

SIMULATED, UNBEARABLE = 1, 2
"""Flags of a row: a simulated card; payment terms nobody should trade on."""
ALL = 2**64 - 1
"""A mask that lets every region, jurisdiction or venue through."""
_U64 = 2**64 - 1


class Row(NamedTuple):
    """A compiled offer. ``handle`` is its place in the book, a small integer; ``provider`` and ``klass`` (the GPU
    model) are numbers given by the book; ``region``, ``jurisdiction`` and ``venue`` are single bits, ``runtimes`` and
    ``flags`` sets of bits; ``tie`` is the first eight bytes of ``id``."""

    handle: int
    id: bytes
    tie: int
    provider: int
    klass: int
    expires: int
    price: int
    free: int
    vram: int
    cpu: int
    memory: int
    disk: int
    cuda: int
    driver: int
    notice: int
    reputation: int
    rtt_us: int
    latency: int
    """Round trip in milliseconds for scoring, at most 1000; a guess where ``rtt_us`` is 0."""
    venue: int
    region: int
    jurisdiction: int
    runtimes: int
    flags: int
    speed: int
    perf: int
    link: int
    """Milliseconds to move one GiB."""
    failure: int
    opening: int
    images: frozenset[int]
    """First eight bytes of the hash of each image the machine has."""


class Query(NamedTuple):
    """A compiled bid. ``classes`` are the GPU models that will do, in ascending order.

    ``work_ms`` is the job's expected length on a machine of speed 1000 when ``paced``, on any machine otherwise;
    ``max_ms`` its longest; ``image`` the first eight bytes of its image's hash and ``image_mib`` what a machine without
    it must fetch; ``moved_mib`` inputs and outputs; ``waiting`` what a second of waiting is worth, in nanotokens;
    ``reference`` the going price; ``allow`` None means everybody.
    """

    tie: int
    now: int
    classes: tuple[int, ...]
    venue: int
    max_price: int
    slots: int
    vram: int
    vram_max: int
    cpu: int
    memory: int
    disk: int
    cuda: int
    driver: int
    notice: int
    reputation: int
    max_rtt_us: int
    regions: int
    jurisdictions: int
    runtimes: int
    barred: int
    allow: frozenset[int] | None
    deny: frozenset[int]
    work_ms: int
    paced: bool
    max_ms: int
    image: int
    image_mib: int
    moved_mib: int
    waiting: int
    reference: int
    w_cost: int
    w_speed: int
    w_reliability: int
    w_latency: int


class Cost(NamedTuple):
    """The terms of the expected total cost, in nanoms. They add up to it."""

    compute: int
    image: int
    transfer: int
    risk: int
    opening: int

    @property
    def total(self) -> int:
        """The expected total cost, nanoms."""
        return self.compute + self.image + self.transfer + self.risk + self.opening


def fits(row: Row, query: Query) -> bool:
    """Whether every constraint holds. The same rules as :data:`market.feasibility.RULES`, on integers."""
    return (
        row.klass in query.classes
        and row.expires > query.now
        and row.free >= query.slots
        and row.price <= query.max_price
        and query.vram <= row.vram <= query.vram_max
        and row.cpu >= query.cpu
        and row.memory >= query.memory
        and row.disk >= query.disk
        and row.cuda >= query.cuda
        and row.driver >= query.driver
        and row.notice >= query.notice
        and row.reputation >= query.reputation
        and (not query.max_rtt_us or 0 < row.rtt_us <= query.max_rtt_us)
        and bool(row.venue & query.venue)
        and bool(row.region & query.regions)
        and bool(row.jurisdiction & query.jurisdictions)
        and row.runtimes & query.runtimes == query.runtimes
        and not row.flags & query.barred
        and (query.allow is None or row.provider in query.allow)
        and row.provider not in query.deny
    )


def expected_ms(row: Row, query: Query) -> int:
    """How long the job is expected to hold this machine: its work at the machine's speed, at most its longest time."""
    return min(query.max_ms, query.work_ms * 1000 // row.speed if query.paced else query.work_ms)


def expected_cost(row: Row, query: Query) -> Cost:
    """What the job is expected to cost here, all things counted.

    Waiting for bytes is priced at ``query.waiting``. A failure costs what was spent up to it once more, times its
    probability (permille). ``opening`` is the gas of a payment lane.
    """
    compute = row.price * query.slots * expected_ms(row, query)
    image_mib = 0 if query.image in row.images else query.image_mib
    image = query.waiting * (image_mib * row.link >> 10)
    transfer = query.waiting * (query.moved_mib * row.link >> 10)
    risk = (compute + image + transfer) * row.failure // 1000
    return Cost(compute, image, transfer, risk, row.opening * money.NANO_MS_PER_UNIT)


def score(row: Row, query: Query) -> int:
    """The number by which offers are ranked; the smallest wins (formula and weights: :mod:`market.strategies`)."""
    going = query.reference * query.slots * query.work_ms
    others = (
        query.w_speed * (1000 - row.perf)
        + query.w_reliability * (1000 - row.reputation)
        + query.w_latency * row.latency
    )
    return query.w_cost * 1000 * expected_cost(row, query).total + going * others


def rank(row: Row, query: Query) -> tuple[int, int, bytes]:
    """The order of the auction: score, then a hash of offer and bid so that no provider wins every tie, then the id."""
    return score(row, query), mix(row.tie ^ query.tie), row.id


def mix(value: int) -> int:
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea, Flood 2014): near inputs, unrelated outputs."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _U64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _U64
    return value ^ (value >> 31)


def scan(rows: Iterable[Row], query: Query, count: int) -> list[tuple[int, int]]:
    """The best ``count`` rows as ``(score, handle)``, by looking at every one. What every index is measured against."""
    found = sorted((rank(row, query), row.handle) for row in rows if fits(row, query))
    return [(ranked[0], handle) for ranked, handle in found[:count]]
