"""A market to measure on: offers of twenty GPU models in twenty-four regions, and bids with eleven kinds of wishes.

Shaped so that a bid fits about one offer in two hundred (the median), and four bids in ten want nothing but the lowest
cost. Drawn by a seed, with the standard library alone; the same seed gives the same market everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from market.offer_row import ALL, SIMULATED, UNBEARABLE, Query, Row
from market.speeds import performance
from market.strategies import STRATEGIES

NOW = 1_800_000_000_000
HOUR = 3_600_000
FOREVER = 2**31 - 1


class Model(NamedTuple):
    """A GPU model: VRAM in GB, speed (1000 is one A100), tokens per hour, and how many there are of it."""

    vram: int
    speed: int
    hourly: float
    share: int


MODELS = (
    Model(141, 3170, 3.20, 3), Model(80, 3170, 2.30, 10), Model(180, 7200, 5.00, 1), Model(192, 4190, 2.40, 2),
    Model(80, 1000, 1.40, 9), Model(40, 990, 1.05, 5), Model(48, 1160, 0.90, 6), Model(48, 500, 0.55, 6),
    Model(24, 390, 0.45, 5), Model(24, 400, 0.42, 4), Model(32, 1340, 0.55, 6), Model(24, 1060, 0.38, 14),
    Model(24, 460, 0.20, 12), Model(16, 620, 0.25, 5), Model(10, 380, 0.13, 5), Model(16, 210, 0.15, 4),
    Model(32, 400, 0.35, 3), Model(16, 390, 0.28, 3), Model(64, 1230, 0.95, 1), Model(24, 360, 0.28, 4),
)  # fmt: skip
_SHARES = [model.share for model in MODELS]
_AREAS = (range(8), range(8, 15), range(15, 20), range(20, 22), range(22, 24))
REGIONS = 24
_STRATEGIES = ("lowest_cost", "balanced", "best_performance", "high_availability", "custom")
_IMAGES = [frozenset[int](), *(frozenset({number, number + 1}) for number in range(1, 12))]


def price_of(hourly: float) -> int:
    """Tokens per hour as nanotokens per GPU-second."""
    return max(1, int(hourly * 1e9 / 3600))


def offers(count: int, seed: int = 1) -> Iterator[Row]:
    """So many offers; a third as many providers."""
    luck = random.Random(seed)
    for handle in range(count):
        klass = luck.choices(range(len(MODELS)), _SHARES)[0]
        model, name, rtt_us = MODELS[klass], luck.randbytes(32), min(900_000, int(luck.gammavariate(2, 45_000)) + 500)
        runtimes = 1 + 2 * (luck.random() < 0.5) + 4 * (luck.random() < 0.2) + 8 * (luck.random() < 0.07)
        region = luck.randrange(REGIONS)
        yield Row(
            handle=handle,
            id=name,
            tie=int.from_bytes(name[:8], "big"),
            provider=luck.randrange(max(1, count // 3)),
            klass=klass,
            expires=NOW + luck.randrange(600, 86_400) * 1000,
            price=int(price_of(model.hourly) * luck.lognormvariate(0, 0.25)),
            free=luck.choices((1, 2, 4, 8), (55, 18, 12, 15))[0],
            vram=model.vram * 1000,
            cpu=luck.choice((4_000, 8_000, 16_000, 24_000)),
            memory=luck.choice((16, 32, 64, 128, 192)) * 1024,
            disk=luck.choice((100, 500, 2_000)) * 1024,
            cuda=luck.choice((11_800, 12_200, 12_400)),
            driver=luck.choice((535_104_005, 550_054_014)),
            notice=FOREVER,
            reputation=min(1000, int(luck.betavariate(6, 2) * 1000)),
            rtt_us=rtt_us,
            latency=min(rtt_us // 1000, 1000),
            venue=1,
            region=1 << region,
            jurisdiction=1 << next(number for number, area in enumerate(_AREAS) if region in area),
            runtimes=runtimes,
            flags=0,
            speed=model.speed,
            perf=performance(model.speed),
            link=luck.choice((8_600, 8_600, 34_000, 86_000)),
            failure=luck.choice((20, 20, 20, 20, 20, 20, 14, 35)),
            opening=0,
            images=luck.choice(_IMAGES),
        )


def bids(count: int, seed: int = 2) -> list[Query]:
    """So many bids."""
    luck = random.Random(seed)
    return [_bid(luck) for _ in range(count)]


def _bid(luck: random.Random) -> Query:
    wanted = luck.choices(range(len(MODELS)), _SHARES)[0]
    model, exact = MODELS[wanted], luck.random() < 0.4
    enough = tuple(number for number, one in enumerate(MODELS) if one.vram >= model.vram)
    known, length = luck.random() < 0.3, luck.choice((600_000, HOUR, 4 * HOUR))
    cost, speed, reliability, latency = _weights(luck)
    return Query(
        tie=luck.getrandbits(64),
        now=NOW + luck.randrange(60, 43_200) * 1000,
        classes=(wanted,) if exact else enough,
        venue=1,
        max_price=int(price_of(model.hourly) * luck.uniform(0.75, 1.7)),
        slots=luck.choices((1, 2, 4, 8), (60, 16, 13, 11))[0],
        vram=0 if exact else model.vram * 1000,
        vram_max=FOREVER,
        cpu=luck.choices((2_000, 4_000, 8_000, 16_000), (40, 35, 20, 5))[0],
        memory=luck.choices((8, 16, 32, 64, 128), (25, 35, 25, 10, 5))[0] * 1024,
        disk=luck.choice((0, 50)) * 1024,
        cuda=luck.choices((0, 12_000), (90, 10))[0],
        driver=0,
        notice=FOREVER,
        reputation=0 if luck.random() < 0.3 else luck.randrange(400, 950),
        max_rtt_us=0 if luck.random() < 0.6 else luck.randrange(30, 200) * 1000,
        regions=_regions(luck),
        jurisdictions=ALL,
        runtimes=luck.choices((1, 3, 5, 9), (60, 25, 10, 5))[0],
        barred=SIMULATED | UNBEARABLE,
        allow=None,
        deny=frozenset(),
        work_ms=length // 2 if known else length,
        paced=known,
        max_ms=length,
        image=luck.randrange(1, 12),
        image_mib=luck.choices((0, 6_000), (70, 30))[0],
        moved_mib=luck.choices((0, 500), (70, 30))[0],
        waiting=price_of(model.hourly),
        reference=price_of(model.hourly),
        w_cost=cost,
        w_speed=speed,
        w_reliability=reliability,
        w_latency=latency,
    )


def _regions(luck: random.Random) -> int:
    """Half do not mind, a third want one jurisdiction, the rest one region."""
    kind = luck.random()
    if kind < 0.5:
        return ALL
    if kind < 0.85:
        return sum(1 << region for region in luck.choices(_AREAS, (35, 35, 15, 10, 5))[0])
    return 1 << luck.randrange(REGIONS)


def _weights(luck: random.Random) -> tuple[int, int, int, int]:
    strategy = luck.choices(_STRATEGIES, (40, 25, 15, 10, 10))[0]
    if strategy != "custom":
        return STRATEGIES[strategy]
    return luck.randrange(20, 60), luck.randrange(10, 40), luck.randrange(5, 35), luck.randrange(0, 25)
