"""What to make of a chain that says more was drawn from a lane than our books ever saw signed for.

Counted as it stands, such a view would make a payer sign above it, and a payee drop the voucher it holds: one lying
endpoint could empty a lane or lose a voucher. It is true only where books were restored from an old copy, or where
the lane was closed or redeemed at something we were never sent. So the view is put aside until a second look says the
same and the escrow's own events have paid that payee so much.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from ledger.ports import Chain, LaneKey, LaneOnChain, LedgerEvent
from market.errors import Unavailable

log = logging.getLogger(__name__)

_ASK_AGAIN_MS = 60_000
"""The escrow's whole log is read to settle a doubt; a lie that is repeated must not make us read it all the time."""


class LaneDoubt:
    """Settles doubts about ``claimed``, one lane at a time.

    Args:
        first_block: the first block that can hold a payment to our lanes.
        now_ms: UTC milliseconds.
    """

    def __init__(self, chain: Chain, now_ms: Callable[[], int], *, first_block: int = 0) -> None:
        self._chain = chain
        self._now_ms = now_ms
        self._first_block = first_block
        self._quiet_until: dict[LaneKey, int] = {}

    @property
    def lanes(self) -> list[LaneKey]:
        """Lanes of which the chain tells us what we do not believe."""
        return sorted(self._quiet_until)

    async def settled(
        self, lane: LaneKey, found: LaneOnChain, *, signed: int, look: Callable[[], Awaitable[LaneOnChain]]
    ) -> LaneOnChain:
        """``found`` where it can be true, or the second look where that is the sober one.

        Args:
            signed: what our books know to have been signed for in all.
            look: reads the lane once more, as ``found`` was read.

        Raises:
            Unavailable: ``chain_doubted``: the view is not believed, and nothing may be done on it; or the chain's own.
        """
        if found.claimed <= signed:
            self._quiet_until.pop(lane, None)
            return found
        if self._now_ms() < self._quiet_until.get(lane, 0):
            raise _doubted(lane, found.claimed, signed)
        again = await look()
        if again.claimed <= signed or await self._paid_out(lane) >= again.claimed >= found.claimed:
            self._quiet_until.pop(lane, None)
            return again
        if lane not in self._quiet_until:
            log.warning("lane of payer %s: %s", lane.payer.hex()[:8], _doubted(lane, found.claimed, signed).message)
        self._quiet_until[lane] = self._now_ms() + _ASK_AGAIN_MS
        raise _doubted(lane, found.claimed, signed)

    async def _paid_out(self, lane: LaneKey) -> int:
        head = await self._chain.head()
        return paid_at_most(await self._chain.events(self._first_block, head.number), lane)


def paid_at_most(events: list[LedgerEvent], lane: LaneKey) -> int:
    """The most that a lane can have paid by these events: redemptions name the payee only, closes the lane. Pure."""
    whole = 0
    for event in events:
        said = event.arguments
        if event.kind == "Redeemed" and said.get("provider") == lane.payee:
            whole += _units(said.get("paid"))
        elif event.kind == "LaneClosed" and _is_of(said, lane):
            whole += _units(said.get("toProvider"))
    return whole


def _is_of(said: dict[str, object], lane: LaneKey) -> bool:
    return (said.get("payer"), said.get("provider"), said.get("signer")) == (lane.payer, lane.payee, lane.signer)


def _units(value: object) -> int:
    return value if isinstance(value, int) else 0


def _doubted(lane: LaneKey, claimed: int, signed: int) -> Unavailable:
    return Unavailable(
        f"the chain endpoint says that {claimed} were drawn from the lane to {lane.payee.hex()[:8]},"
        f" and only {signed} were ever signed for",
        code="chain_doubted",
        fix="ask another endpoint ([chain].rpc), or wait until this one tells the truth",
    )
