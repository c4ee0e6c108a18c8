"""How long the list of an auction takes: the book's whole work for one bid, from its words to the sixteen that may
stand on the list. Nothing is asserted.

    python -m tests.bench shortlist [OFFERS [RUNS]]

Signed offers in a book as a node has it, on each index; bids in words, of a dozen kinds. A bid's time is its least over
RUNS looks, so that what else the machine does is left out; beside it the share of bids that found anybody.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import time
from collections.abc import Sequence

from market.ask import Ask, JobFacts
from market.matching import shortlist
from market.native_index import NativeIndex, open_index
from market.offer_book import Intake, OfferBook
from market.offer_index import OfferIndex
from market.records import Requirements
from market.speeds import SPEEDS
from market.strategies import STRATEGIES
from tests.fakes.samples import NOW, a_signer, offered_by, some_limits

BIDS = 2_000
REGIONS = tuple(f"{area}-{number}" for area in ("eu", "us", "ap", "sa") for number in range(6))
MODELS = tuple(SPEEDS)
_clock = time.perf_counter_ns


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    size, runs = (*[int(word) for word in words], *(5_000, 5)[len(words) :])
    core, before = max(os.sched_getaffinity(0)), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    print(f"one core, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, least of {runs} looks\n")
    print(f"{'OFFERS':>8}  {'INDEX':<12}{'p50':>10}{'p90':>10}{'p99':>10}{'most':>10}{'SERVED':>9}  GOAL")
    indexes: list[tuple[str, OfferIndex]] = [("Python", OfferIndex())]
    native = open_index()
    if isinstance(native, NativeIndex):
        indexes.append(("C", native))  # type: ignore[arg-type]
    for name, index in indexes:
        times, served = measure(a_book(size, index), runs)
        marks = "".join(f"{times[int((len(times) - 1) * part)] / 1e3:>7.0f} µs" for part in (0.5, 0.9, 0.99, 1.0))
        goal = "p99 ≤ 100 µs at 5,000" if name == "Python" else ""
        print(f"{size:>8,}  {name:<12}{marks}{served:>9.0%}  {goal}", flush=True)
    os.sched_setaffinity(0, before)


def measure(book: OfferBook, runs: int) -> tuple[list[int], float]:
    """The least time of every bid in nanoseconds, ascending, and the share that found somebody."""
    asks = [an_ask(random.Random(number), number) for number in range(BIDS)]
    best, served = [2**62] * BIDS, 0
    gc.collect()
    gc.disable()
    for _ in range(runs):
        served = 0
        for number, ask in enumerate(asks):
            began = _clock()
            found = shortlist(book, ask, now=NOW)
            best[number] = min(best[number], _clock() - began)
            served += bool(found.matches)
    gc.enable()
    return sorted(best), served / BIDS


def a_book(size: int, index: OfferIndex) -> OfferBook:
    """A book with so many offers of a third as many providers, each at an address of its own."""
    book, luck = OfferBook(max_skew_ms=60_000, index=index), random.Random(size)
    signers = [a_signer(f"p{number}") for number in range(max(1, size // 3))]
    for number in range(size):
        owner = number % len(signers)
        model = luck.choice(MODELS)
        offer = offered_by(
            signers[owner],
            machine=f"m{number}",
            gpu=model,
            price=int((20_000 + 60 * SPEEDS[model]) * luck.lognormvariate(0, 0.25)),
            free_slots=luck.choice((1, 2, 4, 8)),
            total_slots=8,
            vram_mib=luck.choice((16, 24, 40, 48, 80)) * 1000,
            cpu_milli=luck.choice((4, 8, 16)) * 1000,
            memory_mib=luck.choice((16, 32, 64)) * 1024,
            region=luck.choice(REGIONS),
            net_mbps=luck.choice((0, 100, 1000)),
            addresses=(f"/ip4/9.{owner >> 8}.{owner & 255}.7/tcp/4001", f"/ip4/10.0.{owner & 255}.7/tcp/4001"),
        )
        assert book.take(offer, NOW) is Intake.ADDED
    return book


def an_ask(luck: random.Random, number: int) -> Ask:
    """A bid of one of many kinds."""
    model = luck.choice(MODELS)
    needs = Requirements(
        gpus=(model,) if luck.random() < 0.4 else (),
        vram_mib=luck.choice((0, 16_000, 24_000, 40_000)),
        slots=luck.choice((1, 1, 1, 2, 4)),
        cpu_milli=luck.choice((0, 4_000, 8_000)),
        memory_mib=luck.choice((0, 16, 32)) * 1024,
        regions=luck.choice(((), (), ("eu",), ("us", "eu"), ("ap-3",))),
    )
    return Ask(
        bid_id=number.to_bytes(16, "big"),
        requirements=needs,
        weights=STRATEGIES[luck.choice(("lowest_cost", "lowest_cost", "balanced", "best_performance"))],
        limits=some_limits(max_price=int((20_000 + 60 * SPEEDS[model]) * luck.uniform(0.75, 1.7))),
        job=JobFacts(max_ms=3_600_000, work_ms=luck.choice((0, 0, 1_800_000)), image_mib=luck.choice((0, 0, 6_000))),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
