"""How soon a node that joins late has the whole book: real libp2p over loopback, all nodes on one core. Nothing is
asserted.

    python -m tests.bench.late_joiner [OFFERS …]

Measured from the moment the joiner is started, with the address of one neighbour, until its book holds every offer;
every one of their signatures was checked by then.
"""

from __future__ import annotations

import os
import sys
import time

import trio

from tests.fakes.open_nodes import open_nodes
from tests.integration.test_book_sync import Market, offers

GOAL_S = 3.0


def main(sizes: list[int]) -> None:
    """Measure and print."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    print(f"{'OFFERS':>8}{'NEIGHBOURS':>12}{'FULL BOOK AFTER':>18}  GOAL")
    for count in sizes:
        for neighbours in (1, 3):
            print(f"{count:>8}{neighbours:>12}{trio.run(measure, count, neighbours):>16.2f} s  ≤ {GOAL_S} s")


async def measure(count: int, neighbours: int) -> float:
    """Seconds until the joiner has everything."""
    async with open_nodes() as opener, trio.open_nursery() as running:
        market = Market(opener, running)
        hub = await market.add("hub", book=offers(count))
        others = [await market.add(f"old{number}", hub.network, book=offers(count)) for number in range(neighbours - 1)]
        with trio.fail_after(30):
            while len(hub.network.peers()) < len(others):
                await trio.sleep(0.1)
        began = time.perf_counter()
        joiner = await market.add("joiner", hub.network)
        await joiner.has(offers(count))
        took = time.perf_counter() - began
        running.cancel_scope.cancel()
    return took


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1000, 2000, 5000])
