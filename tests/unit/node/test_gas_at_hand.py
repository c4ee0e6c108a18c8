"""Gas for a deposit: known to be missing before a provider is asked, and never claimed where it may do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from market.errors import Unavailable
from node.gas_at_hand import LEAST_DEPOSIT_GAS, GasMissing, enough_gas, missing_gas

WALLET, SIGNER, RICH, POOR = (bytes([number]) * 20 for number in range(1, 5))
PRICE = 10**9


class Chain:
    account = WALLET

    def __init__(self, gas: int | None) -> None:
        self.gas = gas

    async def gas_balance(self, account: bytes) -> int:
        if self.gas is None:
            raise Unavailable("the chain is silent", code="chain_silent")
        return self.gas if account == WALLET else 0

    async def lane(self, key: Any) -> Any:
        assert (key.payer, key.signer) == (WALLET, SIGNER)
        return SimpleNamespace(balance=9 if key.payee == RICH else 3, claimed=3)


def world(gas: int | None, *, price: int | None = PRICE) -> Any:
    async def gas_price() -> int | None:
        return price

    return SimpleNamespace(
        chain=Chain(gas),
        gas_price=gas_price if price is not None else None,
        session_key=SimpleNamespace(address=SIGNER),
    )


async def test_too_little_for_a_deposit_is_missing_and_how_much_is_told():
    needed = LEAST_DEPOSIT_GAS * PRICE
    expected = GasMissing(account=WALLET, needed=needed, have=needed - 1)
    assert await missing_gas(world(needed - 1), [POOR]) == expected
    assert await missing_gas(world(needed), [POOR]) is None


async def test_a_lane_that_holds_money_may_need_no_deposit():
    assert await missing_gas(world(0), [POOR, RICH]) is None


@pytest.mark.parametrize("unknown", [world(None), world(0, price=None)])
async def test_what_is_not_known_refuses_nobody(unknown: Any):
    assert await missing_gas(unknown, [POOR]) is None


async def test_more_lanes_than_are_worth_asking_refuse_nobody():
    assert await missing_gas(world(0), [POOR] * 33) is None


async def test_where_gas_is_free_nothing_is_missing():
    assert await enough_gas([POOR]) is None
