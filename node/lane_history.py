"""What the chain says happened to a lane over its whole life: deposits, what the provider took, what came back.

Read from two independent sources, the escrow's events and its storage, so that
``deposited = paid + refunded + held`` is a check and not a definition.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ledger.ports import Chain, LaneKey
from node.lane_log import LaneEvent, LaneLog


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
    """Reads lane totals from the chain. Of the past only what is not kept yet (:class:`node.lane_log.LaneLog`)."""

    def __init__(self, chain: Chain, log: LaneLog) -> None:
        self._chain = chain
        self._log = log

    async def totals(self, lane: LaneKey) -> LaneTotals:
        """The lane's sums as of now.

        Raises:
            Unavailable: the chain does not answer.
        """
        totals = await self._sum(lane)
        if not totals.adds_up:
            # Something happened between the two questions, or a reorg went deeper than what is kept.
            totals = await self._sum(lane)
        if not totals.adds_up:
            await self._log.forget()
            totals = await self._sum(lane)
        return totals

    async def _sum(self, lane: LaneKey) -> LaneTotals:
        events = await self._log.events(lane)
        state = await self._chain.lane(lane)
        return sum_events(events, balance=state.balance, claimed=state.claimed)


def sum_events(events: Sequence[LaneEvent], *, balance: int, claimed: int) -> LaneTotals:
    """Add up the events of one lane. Pure."""
    transactions = tuple(
        LaneTransaction(purpose=_PURPOSE[event.kind], hash=event.transaction, block=event.block)
        for event in events
        if event.kind in _PURPOSE
    )
    return LaneTotals(
        deposited=sum(event.units for event in events if event.kind == "Deposited"),
        paid=claimed,
        refunded=sum(event.units for event in events if event.kind in ("LaneClosed", "Released")),
        held=balance - claimed,
        transactions=transactions,
    )
