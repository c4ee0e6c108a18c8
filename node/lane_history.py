"""What the chain says happened to a lane over its whole life: deposits, what the provider took, what came back.

Read from two independent sources, the escrow's events and its storage, so that
``deposited = paid + refunded + held`` is a check and not a definition.
"""

from __future__ import annotations

from msgspec import Struct

from ledger.ports import Chain, LaneKey, LedgerEvent
from market.errors import BrokenInvariant

_SPAN = 5_000


class LaneTransaction(Struct, frozen=True, kw_only=True):
    """One transaction that touched the lane: ``purpose`` is ``deposit``, ``release``, ``close`` or ``exit``."""

    purpose: str
    hash: bytes
    block: int


class LaneTotals(Struct, frozen=True, kw_only=True):
    """Sums in token units. ``deposited`` and ``refunded`` are from events, ``paid`` and ``held`` from storage."""

    deposited: int
    paid: int
    refunded: int
    held: int
    transactions: tuple[LaneTransaction, ...]

    @property
    def last_transaction(self) -> bytes:
        """The newest transaction on the lane, empty when there was none."""
        return self.transactions[-1].hash if self.transactions else b""

    @property
    def adds_up(self) -> bool:
        """Whether every unit that went in is accounted for."""
        return self.deposited == self.paid + self.refunded + self.held


_PURPOSE = {
    "Deposited": "deposit",
    "Released": "release",
    "LaneClosed": "close",
    "ExitStarted": "exit",
    "ExitCancelled": "exit",
}


class LaneHistory:
    """Reads lane totals from the chain, all of a lane's past at each call, in bounded spans of blocks.

    Args:
        start_block: first block that can hold an event of ours (the escrow's deployment, or our first deposit).
    """

    def __init__(self, chain: Chain, *, start_block: int) -> None:
        self._chain = chain
        self._start_block = start_block

    async def totals(self, lane: LaneKey) -> LaneTotals:
        """The lane's sums as of now.

        Raises:
            Unavailable: the chain does not answer.
        """
        head = await self._chain.head()
        events: list[LedgerEvent] = []
        for first in range(self._start_block, head.number + 1, _SPAN):
            events += await self._chain.events(first, min(first + _SPAN - 1, head.number))
        state = await self._chain.lane(lane)
        return sum_events(events, lane, balance=state.balance, claimed=state.claimed)


def sum_events(events: list[LedgerEvent], lane: LaneKey, *, balance: int, claimed: int) -> LaneTotals:
    """Add up the events of one lane. Pure."""
    ours = [event for event in events if _is_of(event, lane)]
    deposited = sum(_amount(event, "amount") for event in ours if event.kind == "Deposited")
    refunded = sum(_amount(event, "toPayer") for event in ours if event.kind in ("LaneClosed", "Released"))
    transactions = tuple(
        LaneTransaction(purpose=_PURPOSE[event.kind], hash=event.transaction, block=event.block)
        for event in ours
        if event.kind in _PURPOSE
    )
    return LaneTotals(
        deposited=deposited, paid=claimed, refunded=refunded, held=balance - claimed, transactions=transactions
    )


def _is_of(event: LedgerEvent, lane: LaneKey) -> bool:
    arguments = event.arguments
    return (arguments.get("payer"), arguments.get("provider"), arguments.get("signer")) == (
        lane.payer,
        lane.payee,
        lane.signer,
    )


def _amount(event: LedgerEvent, name: str) -> int:
    value = event.arguments[name]
    if not isinstance(value, int):
        raise BrokenInvariant(f"event {event.kind} has no amount '{name}'")
    return value
