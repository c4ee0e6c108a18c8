"""Whether the wallet can pay the gas of a deposit: asked first, or a provider's slot is taken for nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from ledger.ports import LaneKey
from market.errors import Unavailable

if TYPE_CHECKING:
    from node.trading_world import World

LEAST_DEPOSIT_GAS = 40_000
"""Less than any deposit takes: nobody is refused who could pay."""
_LANES_ASKED = 32


class GasMissing(Struct, frozen=True, kw_only=True):
    """``account`` holds ``have`` wei, a deposit costs ``needed`` at least."""

    account: bytes
    needed: int
    have: int


AskGas = Callable[[Sequence[bytes]], Awaitable[GasMissing | None]]
"""``ask(payees)``: see :func:`missing_gas`."""


async def enough_gas(payees: Sequence[bytes]) -> GasMissing | None:
    """Where gas is of no concern."""
    return None


async def missing_gas(world: World, payees: Sequence[bytes]) -> GasMissing | None:
    """What the wallet lacks to begin to pay any of ``payees``. None where that is not known, and where a lane to one of
    them holds money already: it may do without a deposit."""
    if world.gas_price is None:
        return None
    chain = world.chain
    try:
        have = await chain.gas_balance(chain.account)
        needed = LEAST_DEPOSIT_GAS * await world.gas_price()
        if have >= needed or len(payees) > _LANES_ASKED:
            return None
        for payee in payees:
            lane = await chain.lane(LaneKey(payer=chain.account, payee=payee, signer=world.session_key.address))
            if lane.balance > lane.claimed:
                return None
    except Unavailable:
        return None
    return GasMissing(account=chain.account, needed=needed, have=have)
