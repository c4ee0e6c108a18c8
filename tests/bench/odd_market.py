"""Offers and bids at random, odd on purpose: equal scores, values at both ends, rules that hardly anything meets."""

from __future__ import annotations

import random

from market.offer_row import ALL, Query, Row

START = 1_800_000_000_000
DAY = 86_400_000
FOREVER = 2**31 - 1
PROVIDERS = 30
IMAGES = (7, 8, 2**63, 2**64 - 1)
NOBODY = frozenset[int]()


def a_row(luck: random.Random, handle: int, classes: int, now: int) -> Row:
    """One offer in a market of so many GPU models."""
    pick = luck.choice
    # Two of ten share the first bytes of their names, so that the rest of the name must decide.
    tie = pick((7, 8)) if luck.random() < 0.2 else luck.getrandbits(64)
    price = pick((0, 1, 10**15)) if luck.random() < 0.05 else pick((100_000, luck.randrange(50_000, 400_000)))
    return Row(
        handle=handle,
        id=tie.to_bytes(8, "big") + luck.randbytes(24),
        tie=tie,
        provider=luck.randrange(PROVIDERS),
        klass=luck.randrange(classes),
        expires=now + pick((1, luck.randrange(60_000), luck.randrange(60_000), 10 * DAY)),
        price=price,
        free=pick((0, 1, 1, 2, 4, 8, 4096)),
        vram=pick((0, 24_576, 81_920, luck.randrange(200_000))),
        cpu=pick((0, 4_000, 8_000, 16_000, 10**6)),
        memory=pick((0, 16_384, 65_536, 2**31)),
        disk=pick((0, 10_240, 102_400, 2**31)),
        cuda=pick((0, 11_800, 12_200, 12_400)),
        driver=pick((0, 535_104_005, 550_054_014)),
        notice=pick((FOREVER, FOREVER, FOREVER, 0, 60_000)),
        reputation=pick((1000, 1000, luck.randrange(1001))),
        rtt_us=(rtt_us := pick((0, luck.randrange(1, 300_000), luck.randrange(1, 300_000)))),
        latency=min(rtt_us // 1000, 1000) if rtt_us else 100,
        venue=1 << pick((0, 0, 0, 0, 1, 63)),
        region=1 << pick((luck.randrange(24), 63)),
        jurisdiction=1 << pick((0, 1, luck.randrange(64))),
        runtimes=pick((1, 1, 3, 5, 7, 2**63 + 1)),
        flags=pick((0, 0, 0, 0, 0, 1, 2, 3, 4)),
        speed=pick((1000, 1000, luck.randrange(1, 10_000), 2 * 10**6)),
        perf=pick((500, luck.randrange(1001))),
        link=pick((1, 85_899, luck.randrange(1, 8_589_935))),
        failure=pick((20, 20, 0, 1000, luck.randrange(1001))),
        opening=pick((0, 0, 0, 1_000, luck.randrange(10**6), 2**53)),
        images=frozenset(luck.sample(IMAGES, luck.randrange(3))),
    )


def a_bid(luck: random.Random, classes: int, now: int) -> Query:
    """One bid. Most ask for little, so that about half of them find something."""
    pick = luck.choice
    fussy = luck.random() < 0.4
    work = pick((60_000, 3_600_000, 3_600_000, 31 * DAY, luck.randrange(1, DAY)))

    def some(wish: int) -> int:
        return wish if fussy and luck.random() < 0.25 else 0

    def among(mask: int) -> int:
        return mask if fussy and luck.random() < 0.4 else ALL

    def half() -> frozenset[int]:
        return frozenset(luck.sample(range(PROVIDERS), PROVIDERS // 2))

    return Query(
        tie=luck.getrandbits(64),
        now=now,
        classes=tuple(sorted(luck.sample(range(classes + 1), luck.randrange(1, classes + 2)))),
        venue=pick((1, 1, 1, 3, ALL)),
        max_price=pick((10**15, 400_000, 150_000, luck.randrange(400_000))),
        slots=pick((1, 1, 1, 2, 4, luck.randrange(1, 10))),
        vram=some(pick((24_576, luck.randrange(200_000)))),
        vram_max=pick((2**31 - 1, 2**31 - 1, 100_000)),
        cpu=some(8_000),
        memory=some(pick((16_384, 2**31))),
        disk=some(102_400),
        cuda=some(12_200),
        driver=some(550_000_000),
        notice=pick((FOREVER, 60_000, 0)),
        reputation=some(luck.randrange(1001)),
        max_rtt_us=some(luck.randrange(1, 300_000)),
        regions=among(luck.getrandbits(64)),
        jurisdictions=among(3),
        runtimes=pick((0, 1, 1, 3, 2**63)) if fussy else 1,
        barred=pick((3, 3, 2)),
        allow=half() if fussy and luck.random() < 0.2 else None,
        deny=half() if fussy and luck.random() < 0.2 else NOBODY,
        work_ms=work,
        paced=luck.random() < 0.5,
        max_ms=pick((work, 2 * work, max(1, work // 2), 31 * DAY)),
        image=pick(IMAGES),
        image_mib=pick((0, 0, 900, 20_000)),
        moved_mib=pick((0, 0, 50, 2**28)),
        waiting=pick((0, 100_000, 100_000, 10**15)),
        reference=pick((0, 100_000, 100_000, 10**15)),
        **_weights(luck),
    )


def _weights(luck: random.Random) -> dict[str, int]:
    vector = luck.choice(
        ((100, 0, 0, 0), (100, 0, 0, 0), (10, 78, 8, 4), (50, 25, 19, 6), (16, 8, 70, 6), (0, 0, 0, 1), (1000,) * 4)
    )
    return dict(zip(("w_cost", "w_speed", "w_reliability", "w_latency"), vector, strict=True))
