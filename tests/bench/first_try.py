"""A live network of nodes that all buy and sell: how often the provider that is asked first says yes, with and without
counting with rivals. Nothing is asserted.

    python -m tests.bench first-try [NODES [BIDS [BURSTS [PROCESSES]]]]

Real hosts on loopback, real gossip, books, auctions and awards; the jobs are pretended (``tests/fakes/busy_market.py``)
and half of all slots are leased between the bursts. The nodes share this machine's cores: what gossip does in tenths
of a second where every node has a machine of its own takes seconds here. So a burst is all its bids within one second,
and the next begins when everybody was served.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import trio

from tests.fakes.busy_market import MODELS, SLOTS, Deal, figures
from tests.fakes.live_market import a_live_market

DEFAULTS = (20, 200, 3, 4)
WITHIN_S = 1.0
GOAL = 0.95


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    given = [int(word) for word in words]
    trio.run(_measure, *given, *DEFAULTS[len(given) :])


async def _measure(nodes: int, bids: int, bursts: int, processes: int) -> None:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    print(
        f"{nodes} nodes in {processes} processes, {nodes * len(MODELS)} offers of {SLOTS} slots, {bids} bids a burst\n"
    )
    heads = ("", "AUCTIONS", "FIRST TRY", "ATTEMPTS", "GAVE UP", "PREMIUM", "P50")
    print(f"{heads[0]:<26}" + "".join(f"{head:>10}" for head in heads[1:]))
    totals: dict[bool, list[Deal]] = {True: [], False: []}
    async with a_live_market(nodes, processes=processes) as market:
        totals[False] += await _burst_row(market, "alone, first of all", bids, seed=0, replay=False)
        for number in range(1, bursts + 1):
            totals[True] += await _burst_row(market, f"with rivals {number}", bids, seed=number, replay=True)
        for number in range(bursts + 1, 2 * bursts):
            totals[False] += await _burst_row(market, f"alone {number}", bids, seed=number, replay=False)
    print()
    for replay, deals in totals.items():
        _row("all with rivals" if replay else "all alone", deals)
    print(f"\ngoal with rivals: {GOAL:.0%} at the first try")


async def _burst_row(market: object, name: str, bids: int, *, seed: int, replay: bool) -> list[Deal]:
    deals: list[Deal] = await market.burst(bids, within=WITHIN_S, seed=seed, replay=replay)  # type: ignore[attr-defined]
    _row(name, deals)
    return deals


def _row(name: str, deals: list[Deal]) -> None:
    found = figures(deals)
    refused = ", ".join(f"{count} {reason}" for reason, count in found.refusals.items())
    print(
        f"{name:<26}{found.auctions:>10}{found.first_try:>10.1%}{found.attempts:>10.2f}{found.gave_up:>10}"
        f"{found.premium:>10.1%}{found.median_s:>8.2f} s  {refused}",
        flush=True,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
