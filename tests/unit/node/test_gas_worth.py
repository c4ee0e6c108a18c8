"""The price of a redemption is live, and not asked for all the time."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from ledger.redeem_plan import BASE_GAS, GasCost
from node.gas_worth import GasWorth


async def test_the_price_is_asked_anew_after_a_while(autojump_clock: MockClock) -> None:
    prices = [10**9, 2 * 10**9, 3 * 10**9]

    async def price() -> int:
        await trio.lowlevel.checkpoint()
        return prices.pop(0)

    worth = GasWorth(price, 10**9)
    first = await worth.cost()
    assert first is not None
    assert first.base == BASE_GAS
    assert await worth.cost() == first
    await trio.sleep(31)
    assert await worth.cost() == GasCost(base=2 * first.base, row=2 * first.row)
    assert len(prices) == 1


async def test_what_nobody_told_is_not_weighed() -> None:
    async def price() -> int:
        raise AssertionError("asked for nothing")

    assert await GasWorth(None, 10**9).cost() is None
    assert await GasWorth(price, 0).cost() is None
