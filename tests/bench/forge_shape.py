"""Our side of ``make bench-peers``: the workload of a published scheduler's own benchmark, on our indexes.

Nodes of 8 CPUs and 32 GiB, partly used, and rounds of 100 workloads that all fit; after a round everything is free
again. Our market sells slots with a fixed share of the machine, so a slot is 0.1 CPU and 256 MiB here, and a workload
takes as many as the larger of its two needs: more than it uses of the other, never less. What was placed is checked
afterwards against CPUs and memory themselves, by code that knows no index.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from market.offer_row import ALL, Query, Row
from market.strategies import STRATEGIES

WORKLOADS = 100
SLOT_CPU, SLOT_MIB = 100, 256
NODE_CPU, NODE_MIB = 8_000, 32_768
_NOW, _CAP, _ANY = 1, 10**6, 2**31 - 1


class Need(NamedTuple):
    """What one workload asks for: thousandths of a CPU, and MiB."""

    cpu: int
    mib: int

    @property
    def slots(self) -> int:
        return max(-(-self.cpu // SLOT_CPU), -(-self.mib // SLOT_MIB))


class Shape(NamedTuple):
    """A world of so many nodes: what is free on each and what its slot costs, and what is wanted."""

    free: list[Need]
    prices: list[int]
    needs: list[Need]
    rows: list[Row]
    queries: list[Query]


class Rates(NamedTuple):
    """Decisions per second of processor time: matched and committed; the same with the release of every slot in the
    time too."""

    committed: float
    released: float
    placed: list[int]


def shape(nodes: int) -> Shape:
    """The peer's nodes and workloads. Prices, which it does not have, are drawn by a fixed seed."""
    free = [Need(NODE_CPU - i * 300 % 3_000, NODE_MIB - i * 1_500 % 15_000) for i in range(nodes)]
    needs = [Need(100 + i % 10 * 100, 256 + i % 8 * 256) for i in range(WORKLOADS)]
    draw = random.Random(4)
    prices = [draw.randrange(50_000, 150_000) for _ in range(nodes)]
    rows = [_row(i, free[i], prices[i], draw) for i in range(nodes)]
    return Shape(free, prices, needs, rows, [_query(need, draw) for need in needs])


def _row(handle: int, free: Need, price: int, draw: random.Random) -> Row:
    """A node as an offer: the slots for which it has both CPUs and memory."""
    name = draw.randbytes(32)
    plain = dict.fromkeys(Row._fields, 0)
    return Row(**plain | {
        "handle": handle, "id": name, "tie": int.from_bytes(name[:8], "big"), "provider": handle, "expires": _ANY,
        "price": price, "free": min(free.cpu // SLOT_CPU, free.mib // SLOT_MIB), "cpu": SLOT_CPU, "memory": SLOT_MIB,
        "notice": _ANY, "reputation": 1000, "rtt_us": 10_000, "latency": 10, "venue": 1, "region": 1,
        "jurisdiction": 1, "runtimes": 1, "speed": 1000, "perf": 500, "link": 1, "failure": 20, "images": frozenset(),
    })  # fmt: skip


def _query(need: Need, draw: random.Random) -> Query:
    """A workload as a bid for the cheapest node that fits; every constraint is looked at, all are wide."""
    cost, speed, reliability, latency = STRATEGIES["lowest_cost"]
    plain = dict.fromkeys(Query._fields, 0)
    return Query(**plain | {
        "tie": draw.getrandbits(64), "now": _NOW, "classes": (0,), "venue": 1, "max_price": _CAP, "slots": need.slots,
        "vram_max": _ANY, "cpu": SLOT_CPU, "memory": SLOT_MIB, "notice": _ANY, "max_rtt_us": 1_000_000,
        "regions": ALL, "jurisdictions": ALL, "runtimes": 1, "allow": None, "deny": frozenset(), "work_ms": 60_000,
        "paced": False, "max_ms": 60_000, "reference": 100_000, "w_cost": cost, "w_speed": speed,
        "w_reliability": reliability, "w_latency": latency,
    })  # fmt: skip


class Engine(NamedTuple):
    """An index to measure: how to make one, how to make a query ready for it, how it places a round of them, and how
    many rounds are enough."""

    make: Callable[[], Any]
    ready: Callable[[Query], Any]
    match: Callable[[Any, Sequence[Any]], list[int]]
    rounds: int


def measure(engine: Engine, world: Shape) -> Rates:
    """Rounds of all workloads. What is made ready beforehand is not in the time: nor is it the peer's."""
    index = engine.make()
    for row in world.rows:
        index.put(row)
    queries = [engine.ready(query) for query in world.queries]
    match = engine.match
    matching = releasing = 0.0
    placed: list[int] = []
    for _ in range(engine.rounds):
        began = time.process_time()
        placed = match(index, queries)
        done = time.process_time()
        for handle, query in zip(placed, world.queries, strict=True):
            if handle >= 0:
                index.give(handle, query.slots)
        matching += done - began
        releasing += time.process_time() - done
    decisions = engine.rounds * len(queries)
    return Rates(decisions / matching, decisions / (matching + releasing), placed)


def as_it_is(query: Query) -> Query:
    """For an index that needs nothing ready."""
    return query


def one_by_one(index: Any, queries: Sequence[Any]) -> list[int]:
    """One Python call for each decision."""
    match = index.match
    return [match(query) for query in queries]


def all_at_once(index: Any, queries: Sequence[Any]) -> list[int]:
    """One call for all."""
    placed: list[int] = index.match_all(queries)
    return placed


def faults(world: Shape, placed: Sequence[int]) -> list[str]:
    """Everything wrong with a round that began with all free: too little left on a node, or a cheaper node left out."""
    left = list(world.free)
    found = []
    for number, (need, handle) in enumerate(zip(world.needs, placed, strict=True)):
        fitting = [i for i, free in enumerate(left) if _room(free) >= need.slots]
        if handle < 0:
            found += [f"workload {number} was refused, and {len(fitting)} nodes had room"] if fitting else []
            continue
        if fitting and world.prices[handle] > min(world.prices[i] for i in fitting):
            found.append(f"workload {number} did not get the cheapest node")
        taken = Need(need.slots * SLOT_CPU, need.slots * SLOT_MIB)
        left[handle] = Need(left[handle].cpu - taken.cpu, left[handle].mib - taken.mib)
        if taken.cpu < need.cpu or taken.mib < need.mib or min(left[handle]) < 0:
            found.append(f"workload {number} has too little on node {handle}")
    return found


def _room(free: Need) -> int:
    return min(free.cpu // SLOT_CPU, free.mib // SLOT_MIB)
