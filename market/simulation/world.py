"""Made-up machines and jobs: which cards there are, what they cost, how large jobs are and how picky.

The mix was fitted to no market in particular. Cards, memory and prices are those of public lists of 2024 and 2025;
a few cards are common, most machines have one, and four jobs in ten want one model and no other. All is drawn as whole
numbers, so that a seed makes the same world on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from market.feasibility import FOREVER_MS
from market.money import NANO_PER_TOKEN
from market.offer_row import ALL, Query, Row
from market.speeds import performance, speed_of
from market.strategies import STRATEGIES

MIXED = "mixed"
"""A strategy drawn for each job; half of them take the cheapest."""
FOREVER = 2**47
"""Nothing expires during a simulation."""


class Card(NamedTuple):
    """A GPU model: memory in GiB, usual price in thousandths of a token per hour, and how common it is."""

    model: str
    gib: int
    price: int
    weight: int


CARDS = (
    Card("H200", 141, 3200, 3), Card("H100", 80, 2300, 10), Card("B200", 180, 5000, 1), Card("MI300X", 192, 2400, 2),
    Card("A100", 80, 1400, 9), Card("A100 40GB", 40, 1050, 5), Card("L40S", 48, 900, 6), Card("A6000", 48, 550, 6),
    Card("L4", 24, 450, 5), Card("A10", 24, 420, 4), Card("RTX5090", 32, 550, 6), Card("RTX4090", 24, 380, 14),
    Card("RTX3090", 24, 200, 12), Card("RTX4080", 16, 250, 5), Card("RTX3080", 10, 130, 5), Card("T4", 16, 150, 4),
    Card("V100 32GB", 32, 350, 3), Card("V100", 16, 280, 3), Card("MI250X", 64, 950, 1), Card("A5000", 24, 280, 4),
)  # fmt: skip
REGIONS = 24
LAWS = (range(8), range(8, 15), range(15, 20), range(20, 22), range(22, 24))
"""Which regions are under one law."""
SIZES = (1, 2, 4, 8)
"""Slots of a machine, and of a job."""
IMAGES = 12
_WEIGHTS = [card.weight for card in CARDS]


def make_machines(count: int, luck: Random) -> list[Row]:
    """So many providers with one machine each, all slots free. The handle is the place in the list."""
    return [_machine(handle, luck) for handle in range(count)]


def make_jobs(rows: Sequence[Row], count: int, luck: Random, strategy: str = "lowest_cost") -> Iterator[Query]:
    """So many bids, one after the other.

    Args:
        rows: the machines there are; the going price of a job is that of the models that will do.
        count: how many.
        luck: where chance comes from.
        strategy: a name of :data:`market.strategies.STRATEGIES`, or :data:`MIXED`.
    """
    going: dict[tuple[int, ...], int] = {}
    for _ in range(count):
        wanted = luck.choices(range(len(CARDS)), _WEIGHTS)[0]
        classes = (wanted,) if luck.randrange(10) < 4 else _as_large(CARDS[wanted].gib)
        if classes not in going:
            going[classes] = _middle([row.price for row in rows if row.klass in classes])
        yield _job(classes, wanted, going[classes], _weights(strategy, luck), luck)


def _machine(handle: int, luck: Random) -> Row:
    klass = luck.choices(range(len(CARDS)), _WEIGHTS)[0]
    card = CARDS[klass]
    region = luck.randrange(REGIONS)
    speed = speed_of(card.model) * luck.randrange(900, 1101) // 1000
    latency = 5 + sum(luck.randrange(60) for _ in range(3))
    taken_back = luck.randrange(5) == 0
    name = luck.randbytes(32)
    return Row(
        handle=handle,
        id=name,
        tie=int.from_bytes(name[:8], "big"),
        provider=handle,
        klass=klass,
        expires=FOREVER,
        price=_asking_price(card, luck),
        free=luck.choices(SIZES, (55, 18, 12, 15))[0],
        vram=card.gib * 1024,
        cpu=luck.choice((4, 8, 16, 24)) * 1000,
        memory=luck.choice((16, 32, 64, 128, 192)) * 1024,
        disk=luck.choice((100, 500, 2000)) * 1024,
        cuda=luck.choice((11_800, 12_400, 12_800)),
        driver=luck.choice((535, 550, 570)) * 1_000_000,
        notice=luck.choice((30_000, 300_000)) if taken_back else FOREVER_MS,
        reputation=max(luck.randrange(1001) for _ in range(3)),
        rtt_us=latency * 1000,
        latency=latency,
        venue=1,
        region=1 << region,
        jurisdiction=1 << next(law for law, regions in enumerate(LAWS) if region in regions),
        runtimes=1 | (2 if luck.randrange(2) else 0) | (4 if luck.randrange(5) == 0 else 0),
        flags=0,
        speed=speed,
        perf=performance(speed),
        link=luck.choice((858, 8_589, 85_899)),
        failure=luck.randrange(5, 60) + (80 if taken_back else 0),
        opening=luck.choice((0, 20_000)),
        images=frozenset(luck.sample(range(1, IMAGES + 1), 3)),
    )


def _asking_price(card: Card, luck: Random) -> int:
    """About 0.5 to 1.6 times the usual: a sum of four even draws, near enough to the bell of real price lists."""
    return _nano(card.price) * (134 + sum(luck.randrange(434) for _ in range(4))) // 1000


def _job(classes: tuple[int, ...], wanted: int, going: int, weights: tuple[int, ...], luck: Random) -> Query:
    work_ms = luck.choice((10, 60, 60, 240, 720)) * 60_000
    laws = luck.choices((ALL, *(1 << law for law in range(len(LAWS)))), (60, 14, 14, 6, 4, 2))[0]
    cost, speed, reliability, latency = weights
    return Query(
        tie=luck.getrandbits(64),
        now=0,
        classes=classes,
        venue=1,
        max_price=_nano(CARDS[wanted].price) * luck.randrange(750, 1701) // 1000,
        slots=luck.choices(SIZES, (60, 16, 13, 11))[0],
        vram=0,
        vram_max=2**31 - 1,
        cpu=luck.choices((2, 4, 8, 16), (40, 35, 20, 5))[0] * 1000,
        memory=luck.choices((8, 16, 32, 64, 128), (25, 35, 25, 10, 5))[0] * 1024,
        disk=luck.choice((10, 50, 200)) * 1024,
        cuda=luck.choice((0, 0, 12_000)),
        driver=0,
        notice=30_000 if luck.randrange(10) < 3 else FOREVER_MS,
        reputation=0 if luck.randrange(10) < 3 else luck.randrange(300, 900),
        max_rtt_us=0 if luck.randrange(10) < 7 else luck.randrange(30, 200) * 1000,
        regions=1 << luck.randrange(REGIONS) if laws == ALL and luck.randrange(10) == 0 else ALL,
        jurisdictions=laws,
        runtimes=luck.choices((1, 3, 5), (60, 30, 10))[0],
        barred=0,
        allow=None,
        deny=frozenset(),
        work_ms=work_ms,
        paced=bool(luck.randrange(2)),
        max_ms=2 * work_ms,
        image=luck.randrange(1, IMAGES + 1),
        image_mib=luck.choice((500, 4_000, 12_000)),
        moved_mib=luck.choice((0, 100, 5_000)),
        waiting=going,
        reference=going,
        w_cost=cost,
        w_speed=speed,
        w_reliability=reliability,
        w_latency=latency,
    )


def _weights(strategy: str, luck: Random) -> tuple[int, ...]:
    named = luck.choices(tuple(STRATEGIES), (50, 15, 25, 10))[0] if strategy == MIXED else strategy
    return STRATEGIES[named]


def _as_large(gib: int) -> tuple[int, ...]:
    return tuple(klass for klass, card in enumerate(CARDS) if card.gib >= gib)


def _middle(prices: Sequence[int]) -> int:
    return sorted(prices)[(len(prices) - 1) // 2] if prices else 0


def _nano(price: int) -> int:
    """Thousandths of a token per hour as nanotokens per second."""
    return price * (NANO_PER_TOKEN // 1000) // 3600
