"""What a redemption costs now, in token units: the live price of gas, and what its owner says a coin is worth."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ledger.redeem_plan import GasCost, gas_cost

GasPrice = Callable[[], Awaitable[int]]
"""What a unit of gas costs now, in wei. May raise Unavailable."""
_GOOD_FOR_S = 30.0


class GasWorth:
    """Asks at most twice a minute.

    Args:
        price: None where it cannot be asked.
        coin_units: what one of the chain's coins is worth in token units; 0 when nobody said so.
    """

    def __init__(self, price: GasPrice | None, coin_units: int) -> None:
        self._price = price
        self._coin_units = coin_units
        self._asked_at = 0.0
        self._cost: GasCost | None = None

    async def cost(self) -> GasCost | None:
        """The cost of a redemption; None when it cannot be told, and then gas is not weighed.

        Raises:
            Unavailable: the chain does not answer.
        """
        if self._price is None or not self._coin_units:
            return None
        if self._cost is None or trio.current_time() - self._asked_at > _GOOD_FOR_S:
            self._cost = gas_cost(await self._price(), self._coin_units)
            self._asked_at = trio.current_time()
        return self._cost
