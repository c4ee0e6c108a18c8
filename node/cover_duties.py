"""While a job runs on money that is set aside a stretch at a time: more is added early, or it stops in good order.

The requester adds to it when half a stretch is left, and warns its owner when it cannot; the provider stops the job
while its end can still be paid. Outputs are kept and fetched as after any other end.
"""

from __future__ import annotations

import logging

import msgspec
import trio
from msgspec.structs import replace

from ledger.payee import Payee
from ledger.payer import Payer
from market.cover import FOREVER_MS, STOP_MS, cover_wanted, is_dry, owed_now, runway_ms
from market.errors import InvalidRequest, Unavailable
from market.lease import ContainerExited
from market.records import ExitReason
from node.control import money, rfc3339
from node.job_file.request import JobRequest
from node.lease_board import LeaseBoard
from node.ports import Clock

log = logging.getLogger(__name__)

RUNNING_DRY = "running_dry"
TOPPED_UP = "topped_up"
_ADD_MONEY = "send tokens to the wallet, or add to the lane: the job goes on by itself when they come"


class CoverGuard:
    """The provider's part: works no longer than what is set aside pays."""

    def __init__(self, payee: Payee, clock: Clock, *, poll_s: float) -> None:
        self._payee = payee
        self._clock = clock
        self._poll_s = poll_s

    async def mind(self, board: LeaseBoard) -> None:
        """End the job before it runs dry. Returns when it has; a lease that is covered whole is never ended."""
        while True:
            left_ms = self._left_ms(board)
            if is_dry(left_ms):
                log.info("lease %s: what was set aside for it is used up", board.lease_id.hex()[:8])
                now = self._clock.now_ms()
                await board.record(ContainerExited(at=now, reason=ExitReason.UNFUNDED, exit_code=-1))
                return
            if left_ms == FOREVER_MS:
                await trio.sleep_forever()
            until_dry_s = (left_ms - STOP_MS) / 1000
            with trio.move_on_after(until_dry_s):  # a chain that does not answer must not make us work on for nothing
                await self._take_more(board)
                await trio.sleep(self._poll_s)

    def _left_ms(self, board: LeaseBoard) -> int:
        due = owed_now(board.state, self._clock.now_ms())
        return runway_ms(board.state, cover=self._payee.cover_of(board.lease_id), due=due)

    async def _take_more(self, board: LeaseBoard) -> None:
        wanted = cover_wanted(board.state, board.spec.fund_ahead_ms)
        if wanted <= self._payee.cover_of(board.lease_id):
            return
        try:
            await self._payee.admit(board.lease_id, board.lane, board.state.cap, cover=wanted)
        except Unavailable as error:
            log.info("lease %s: whether more was set aside cannot be seen: %s", board.lease_id.hex()[:8], error)


class TopUp:
    """The requester's part.

    Args:
        automatic: whether to deposit without being asked, up to what the job may cost in all.
    """

    def __init__(self, payer: Payer, clock: Clock, *, automatic: bool, poll_s: float) -> None:
        self._payer = payer
        self._clock = clock
        self._automatic = automatic
        self._poll_s = poll_s

    async def keep_covered(self, board: LeaseBoard) -> None:
        """Add to what is set aside until it is all that the job can cost; tell the owner early when that fails."""
        told = ""
        while (cover := self._payer.cover_of(board.lease_id)) < board.state.cap:
            wanted = cover_wanted(board.state, board.spec.fund_ahead_ms)
            why = await self._add(board, wanted) if wanted > cover else ""
            if why and why != told:
                await self._warn(board, cover, why)
            told = why
            await trio.sleep(self._poll_s)

    async def _add(self, board: LeaseBoard, wanted: int) -> str:
        """Empty when so much is set aside now, else why not."""
        try:
            sent = await self._payer.ensure_funded(board.lease_id, wanted, may_deposit=self._automatic)
        except (InvalidRequest, Unavailable) as error:
            return error.message
        detail = {"covered": money(wanted), "transaction": "0x" + sent.hash.hex() if sent else None}
        await board.note(TOPPED_UP, msgspec.json.encode(detail), self._clock.now_ms())
        return ""

    async def _warn(self, board: LeaseBoard, cover: int, why: str) -> None:
        now = self._clock.now_ms()
        left_ms = runway_ms(board.state, cover=cover, due=owed_now(board.state, now))
        detail = {"until": rfc3339(now + left_ms), "covered": money(cover), "detail": why, "fix": _ADD_MONEY}
        log.warning("lease %s runs dry in %d s: %s", board.lease_id.hex()[:8], left_ms // 1000, why)
        await board.note(RUNNING_DRY, msgspec.json.encode(detail), now)


def in_stretches(request: JobRequest, ahead_ms: int) -> JobRequest:
    """The request, to be funded a stretch at a time where its owner's node is set so."""
    return replace(request, spec=replace(request.spec, fund_ahead_ms=ahead_ms)) if ahead_ms else request
