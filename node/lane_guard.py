"""Watches over the lanes that owe us money: when a payer starts to leave, what it signed is redeemed at once.

A voucher is worth something only while its lane holds money. A payer may start its exit at any moment, also during a
job; the escrow then waits for a fixed delay. This task looks several times within that delay, redeems, and ends the
leases that are still paid from the lane, so that no more is given away than the printed exposure.
"""

from __future__ import annotations

import logging

import trio

from ledger.payee import Payee
from ledger.ports import LaneKey
from market.errors import InvalidRequest, Unavailable
from market.lease import ContainerExited, is_legal
from market.records import ExitReason
from node.ports import Clock
from node.provider import ProviderDesk

log = logging.getLogger(__name__)

_LONGEST_PAUSE_S = 60.0
_LOOKS_PER_DELAY = 8


class LaneGuard:
    """Looks after every lane with an open lease or an unredeemed voucher."""

    def __init__(self, desk: ProviderDesk, payee: Payee, clock: Clock) -> None:
        self._desk = desk
        self._payee = payee
        self._clock = clock

    async def watch_forever(self) -> None:
        """Look now, so that an exit that began while we were away is met first, and then several times per delay."""
        pause = min(_LONGEST_PAUSE_S, max(0.5, self._payee.exit_delay_s / _LOOKS_PER_DELAY))
        while True:
            for lane in self.lanes_at_stake():
                try:
                    await self.look(lane)
                except (Unavailable, InvalidRequest) as error:
                    # A wallet without gas is the owner's to fill; a payer's exit must not take the node down with it.
                    log.warning("lane of payer %s could not be checked: %s", lane.payer.hex()[:8], error)
            await trio.sleep(pause)

    def lanes_at_stake(self) -> list[LaneKey]:
        """Lanes on which we can lose something."""
        summaries = self._payee.summary()
        return [one.lane for one in summaries if one.open_leases or one.signed > one.claimed]

    async def look(self, lane: LaneKey) -> None:
        """Act if the lane's payer is leaving. Safe to repeat.

        Raises:
            Unavailable: the chain does not answer.
            InvalidRequest: our wallet cannot pay for the redemption.
        """
        found = await self._payee.lane_on_chain(lane)
        if not found.exit_at:
            return
        log.warning("payer %s is leaving its lane: redeeming and ending its leases", lane.payer.hex()[:8])
        for board in [one for one in self._desk.boards.values() if one.lane == lane]:
            fact = ContainerExited(at=self._clock.now_ms(), reason=ExitReason.UNPAID, exit_code=-1)
            if is_legal(board.state, fact) and board.state.exit_reason is None:
                await board.record(fact)
        await self._payee.redeem([lane])
