"""Looks now and then whether earnings are due to their owner, and has them sent."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from ledger.lane_journal import LaneJournal
from ledger.payouts import Payouts
from ledger.ports import Journal
from ledger.voucher import Domain
from market.errors import InvalidRequest, Unavailable
from market.money import format_tokens

log = logging.getLogger(__name__)

_PAUSE_S = 30.0


class PayoutKeeper:
    """Carries :class:`ledger.payouts.Payouts` on.

    Args:
        domain: the escrow whose lanes are the earnings.
    """

    def __init__(
        self,
        payouts: Payouts,
        journal: Journal,
        domain: Domain,
        now_ms: Callable[[], int],
        *,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self.payouts = payouts
        self._journal = journal
        self._domain = domain
        self._now_ms = now_ms
        self._pause_s = pause_s
        self._trouble = ""

    async def earned(self) -> int:
        """What all lanes together have paid to this node's account over their whole life, as last seen."""
        lanes = LaneJournal(self._journal, "paid", self._domain, self._now_ms)
        await lanes.load()
        account = self.payouts.account  # an earlier wallet's earnings went to an earlier account
        return sum(lanes.books(lane).claimed for lane in lanes.lanes() if lane.payee == account)

    async def run_forever(self) -> None:
        """Look now, so that a payout which a crash left open is settled first, and then every half minute."""
        while True:
            await self.look()
            await trio.sleep(self._pause_s)

    async def look(self) -> None:
        """One look. What stands in the way is told once, and tried again the next time."""
        try:
            sent = await self.payouts.step(await self.earned())
        except (Unavailable, InvalidRequest) as error:
            if error.code != self._trouble:
                log.warning("earnings could not be paid out: %s", error)
            self._trouble = error.code
            return
        self._trouble = ""
        if sent is not None and self.payouts.books is not None:
            total = format_tokens(self.payouts.books.paid_out)
            log.info("payout %d sent; %s tokens in all", sent.number, total)
