"""How fast the indexes decide, on one core, with what each decision served. Nothing here is asserted but agreement.

    python -m tests.bench matching [--sizes 100,1000] [--runs 5] [--steps 4000]

A *decision* is a compiled bid in, and out the best offer by every rule with its slots committed. The book is half used
and stays so: each step is one decision and the release of the oldest jobs until no more than half is used again; both
are in the time. Other bids than those measured have been asked before, as in a market that did not begin just now. A
step's time is its least over RUNS identical runs, so that what else the machine does is left out. A refusal is cheap,
so the share of bids that were served stands beside every rate, and the rate of these alone.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from market.explain import why_not
from market.offer_book import OfferBook
from market.offer_index import OfferIndex
from market.offer_row import Query, Row, scan
from market.records import Requirements
from tests.bench.market_workload import bids, offers
from tests.fakes.samples import NOW, a_signer, an_ask, offered_by, some_limits

SIZES = (100, 500, 1_000, 5_000)
LARGE = (100_000,)
BIDS, SCANNED, TOPS = 4_000, 400, 2_000
_clock = time.perf_counter_ns


class Scan:
    """The specification as an index: looks at every row."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}

    def put(self, row: Row) -> None:
        """Insert or replace."""
        self._rows[row.handle] = row

    def give(self, handle: int, slots: int) -> None:
        """Release slots."""
        row = self._rows[handle]
        self._rows[handle] = row._replace(free=row.free + slots)

    def take(self, handle: int, slots: int) -> None:
        """Commit slots that are free."""
        self.give(handle, -slots)

    def top(self, query: Query, count: int) -> list[tuple[int, int]]:
        """The best, by looking at all."""
        return scan(self._rows.values(), query, count)

    def match(self, query: Query) -> int:
        """Take the slots of the best."""
        best = scan(self._rows.values(), query, 1)
        if not best:
            return -1
        self.take(best[0][1], query.slots)
        return best[0][1]


class Engine(NamedTuple):
    """An index to measure: how to make one, how to make a bid ready for it beforehand, up to what size it is worth the
    wait, how many decisions to take, and how many bids to ask it about before."""

    make: Callable[[], Any]
    ready: Callable[[Query], Any]
    largest: int
    steps: int
    before: int


class Run(NamedTuple):
    """One run: nanoseconds and chosen handle of each step."""

    times: list[int]
    chosen: list[int]


def engines(steps: int) -> dict[str, Engine]:
    """What is here to be measured, by name."""
    found = {
        "scan": Engine(Scan, _as_it_is, 5_000, min(steps, SCANNED), 0),
        "index": Engine(OfferIndex, _as_it_is, 5_000, steps, BIDS),
    }
    try:
        from market.native_index import NativeIndex
    except ImportError:
        return found
    return found | {"native": Engine(NativeIndex, getattr(NativeIndex, "pack", _as_it_is), 1_000_000, steps, BIDS)}


def _as_it_is(query: Query) -> Query:
    return query


class Market(NamedTuple):
    """A world to measure in: rows, bids, those asked before, and the jobs that fill half of it, oldest first."""

    rows: list[Row]
    queries: list[Query]
    earlier: list[Query]
    jobs: list[tuple[int, int]]
    slots: int


def a_market(size: int, engine: Engine) -> Market:
    """Fill the book by half, by matching bid after bid."""
    rows, queries, earlier = list(offers(size, seed=size)), bids(BIDS, seed=size + 1), bids(BIDS, seed=size + 2)
    index, ready = engine.make(), [engine.ready(query) for query in earlier]
    for row in rows:
        index.put(row)
    jobs, used, tried, slots = [], 0, 0, sum(row.free for row in rows)
    while 2 * used < slots and tried < 20 * max(size, BIDS):
        number = tried % BIDS
        handle = index.match(ready[number])
        if handle >= 0:
            jobs.append((handle, earlier[number].slots))
            used += earlier[number].slots
        tried += 1
    return Market(rows, queries, earlier, jobs, slots)


def half_used(engine: Engine, market: Market) -> Any:
    """An index with those rows and jobs."""
    index = engine.make()
    for row in market.rows:
        index.put(row)
    for handle, slots in market.jobs:
        index.take(handle, slots)
    for query in market.earlier[: engine.before]:
        index.top(engine.ready(query), 1)
    return index


def one_run(engine: Engine, market: Market) -> Run:
    """The steps, each timed with the releases that follow it."""
    index = half_used(engine, market)
    ready, slots_of = [engine.ready(query) for query in market.queries], [query.slots for query in market.queries]
    match, give = index.match, index.give
    live, used = deque(market.jobs), sum(slots for _, slots in market.jobs)
    times, chosen = [], []
    gc.collect()
    gc.disable()
    for step in range(engine.steps):
        number = step % BIDS
        began = _clock()
        handle = match(ready[number])
        spent = _clock() - began
        if handle >= 0:
            live.append((handle, slots_of[number]))
            used += slots_of[number]
        while 2 * used > market.slots:
            oldest, slots = live.popleft()
            used -= slots
            began = _clock()
            give(oldest, slots)
            spent += _clock() - began
        times.append(spent)
        chosen.append(handle)
    gc.enable()
    return Run(times, chosen)


def least(runs: Iterable[Sequence[int]]) -> list[int]:
    """Of each step its least time."""
    return [min(times) for times in zip(*runs, strict=True)]


def spread(times: Sequence[int]) -> str:
    """Median and 99th of a hundred, microseconds."""
    ordered = sorted(times)
    return f"{ordered[len(ordered) // 2] / 1000:9.1f}{ordered[len(ordered) * 99 // 100] / 1000:9.1f}"


def decision_rows(size: int, runs: int, steps: int) -> list[str]:
    """The lines of one size.

    Raises:
        SystemExit: two engines chose differently.
    """
    here = {name: engine for name, engine in engines(steps).items() if size <= engine.largest}
    if not here:
        return [f"{size:>10,}  native      not built"]
    market = a_market(size, list(here.values())[-1])
    done: dict[str, list[Run]] = {name: [] for name in here}
    for _ in range(runs):
        for name, engine in here.items():
            done[name].append(one_run(engine, market))
    lines, first = [], next(iter(done.values()))[0].chosen
    for name, of_engine in done.items():
        times, chosen = least(run.times for run in of_engine), of_engine[0].chosen
        if chosen[: len(first)] != first:
            raise SystemExit(f"{name} chose otherwise at {size} offers")
        served = [spent for spent, handle in zip(times, chosen, strict=True) if handle >= 0]
        rates = f"{len(times) / sum(times) * 1e9:14,.0f}{spread(times)}{len(served) / len(times):9.2f}"
        served_rate = f"{len(served) / sum(served) * 1e9:14,.0f}" if served else f"{'-':>14}"
        lines.append(f"{size:>10,}  {name:<10}{rates}{served_rate}{spread(top_times(here[name], market, runs))}")
    if "native" not in here and size in SIZES:
        lines.append(f"{size:>10,}  native      not built")
    return lines


def top_times(engine: Engine, market: Market, runs: int) -> list[int]:
    """The sixteen best for each bid, in the half used book."""
    index, times = half_used(engine, market), []
    ready = [engine.ready(query) for query in market.queries[: min(engine.steps, TOPS)]]
    gc.disable()
    for _ in range(runs):
        run = []
        for query in ready:
            began = _clock()
            index.top(query, 16)
            run.append(_clock() - began)
        times.append(run)
    gc.enable()
    return least(times)


def put_lines(size: int, runs: int, steps: int) -> list[str]:
    """How many offers a second an index takes in: refreshed, and with another price."""
    rows = list(offers(size, seed=size))
    lines = []
    for name, engine in engines(steps).items():
        if name == "scan" or size > engine.largest:
            continue
        index = engine.make()
        for row in rows:
            index.put(row)
        index.top(engine.ready(bids(1)[0]), 1)
        figures = []
        for change in (_refreshed, _dearer):
            best = min(_time_puts(index, [change(row, run) for row in rows]) for run in range(3 * runs))
            figures.append(f"{len(rows) / best * 1e9:16,.0f}")
        lines.append(f"{size:>10,}  {name:<10}" + "".join(figures))
    return lines


def _refreshed(row: Row, run: int) -> Row:
    return row._replace(expires=row.expires + run + 1)


def _dearer(row: Row, run: int) -> Row:
    return row._replace(price=row.price + run + 1)


def _time_puts(index: Any, rows: list[Row]) -> int:
    put = index.put
    began = _clock()
    for row in rows:
        put(row)
    return _clock() - began


def explain_line(size: int, runs: int) -> str:
    """How long the explanation takes that nothing fits a bid."""
    book = OfferBook(max_skew_ms=60_000)
    for row in offers(size, seed=size):
        signer = a_signer(f"bench {row.handle // 32}")
        fields = {"price": row.price, "vram_mib": row.vram, "cpu_milli": row.cpu, "memory_mib": row.memory}
        regional = {"machine": f"m{row.handle}", "gpu": f"card {row.klass}", "region": f"r{row.region.bit_length()}"}
        book.take(offered_by(signer, **fields, **regional), NOW)
    needs = Requirements(cpu_milli=20_000, memory_mib=100_000, regions=("r1", "r2"), gpus=("card 3", "card 5"))
    ask = an_ask(limits=some_limits(max_price=1), requirements=needs)
    times = []
    for _ in range(5 * runs):
        began = _clock()
        answer = why_not(book, ask, NOW)
        times.append(_clock() - began)
    return f"why not: {min(times) / 1e6:.2f} ms at {answer.offers:,} offers, {len(answer.rules)} rules broken (≤ 5 ms)"


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench matching")
    parser.add_argument("--sizes", default="", help="numbers of offers, separated by commas; 1000000 takes minutes")
    parser.add_argument("--runs", type=int, default=5, help="identical runs, of which the least time counts")
    parser.add_argument("--steps", type=int, default=BIDS, help="decisions of each run")
    given = parser.parse_args(list(arguments))
    native = "native" in engines(given.steps)
    sizes = [int(size) for size in given.sizes.split(",") if size] or [*SIZES, *(LARGE if native else ())]
    core = max(os.sched_getaffinity(0))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        _print(sizes, given)
    finally:
        os.sched_setaffinity(0, before)


def _print(sizes: Sequence[int], given: argparse.Namespace) -> None:
    print(f"one core, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, least of {given.runs} runs\n")
    print(f"{'':22}{'':14}{'decision, us':>18}{'':23}{'best 16, us':>18}")
    columns = "".join(f"{name:>9}" for name in ("p50", "p99", "served"))
    print(f"{'OFFERS':>10}  {'':<10}{'decisions/s':>14}{columns}{'served/s':>14}{'p50':>9}{'p99':>9}")
    for size in sizes:
        for line in decision_rows(size, given.runs, given.steps):
            print(line, flush=True)
    print(f"\n{'OFFERS':>10}  {'':<10}{'refreshes/s':>16}{'new prices/s':>16}")
    for size in sizes:
        for line in put_lines(size, given.runs, given.steps):
            print(line, flush=True)
    print(f"\n{explain_line(min(5_000, max(sizes)), given.runs)}")
