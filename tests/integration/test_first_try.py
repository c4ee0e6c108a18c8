"""Real nodes that all buy and sell, in two processes: counting with rivals saves tries. No time is asserted."""

from __future__ import annotations

import pytest
import trio

from tests.fakes.busy_market import Deal, figures
from tests.fakes.live_market import LiveMarket, a_live_market

pytestmark = pytest.mark.processes

NODES, PROCESSES, BIDS = 10, 2, 100


def test_bidders_of_one_moment_get_what_they_ask_for_first_when_they_count_with_each_other():
    async def compare() -> tuple[list[Deal], list[Deal]]:
        async with a_live_market(NODES, processes=PROCESSES) as market:
            return await hold(market, replay=False), await hold(market, replay=True)

    alone, counting = (figures(deals) for deals in trio.run(compare))
    # Somebody may look at a moment when all that fits is taken, and ask nobody.
    assert min(alone.auctions, counting.auctions) >= BIDS * 9 // 10
    assert counting.first_try > alone.first_try + 0.2
    assert counting.attempts < alone.attempts
    assert counting.gave_up <= BIDS // 10, "half of the market was free"


async def hold(market: LiveMarket, *, replay: bool) -> list[Deal]:
    assert 0.4 < await market.used() < 0.6
    return await market.burst(BIDS, within=1.0, seed=int(replay), replay=replay)
