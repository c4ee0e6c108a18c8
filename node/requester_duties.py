"""What a requester does for a lease, stage by stage. Every duty may be cut off and repeated at any point.

Money is committed in one place each: the deposit in ``fund``, the vouchers in ``report_desk``, the way back in
``close``. A provider that vanishes cannot hold the rest: after the exit delay it returns without it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import trio

from ledger.payer import Payer
from ledger.ports import Chain
from market import codec
from market.cover import cover_wanted
from market.duties import Duty
from market.errors import InvalidRequest
from market.lease import CancelRequested, LaneFunded, ReclaimConfirmed, SettlementConfirmed, Stage
from market.records import ExitReason
from node import wire
from node.cover_duties import TopUp
from node.lane_history import LaneHistory
from node.lane_keeper import LaneKeeper
from node.lane_share import describe_share, share_of, signed_for, transactions_of
from node.lease_board import LeaseBoard
from node.ports import Clock, Network, PeerUnreachable
from node.report_desk import ReportDesk
from node.requester_files import RequesterFiles

log = logging.getLogger(__name__)

_REPEAT_S = 1.0
_ENDED_BY_US = (ExitReason.CANCELLED, ExitReason.UNPAID, ExitReason.TIME_LIMIT)
_NEVER_STARTED = frozenset({ExitReason.IMAGE, ExitReason.START_FAILED})

Fail = Callable[[LeaseBoard, InvalidRequest], Awaitable[None]]


class RequesterDuties:
    """Carries out requester duties against the payer's books and the provider.

    Args:
        close_lanes: take the unspent rest back as soon as no lease uses the lane. Otherwise it stays for later jobs.
        top_up: add to the lane of a job that is covered a stretch at a time, without asking.
    """

    def __init__(
        self,
        reports: ReportDesk,
        *,
        network: Network,
        payer: Payer,
        chain: Chain,
        lanes: LaneKeeper,
        books: LaneHistory,
        files: RequesterFiles,
        clock: Clock,
        fail: Fail,
        poll_s: float,
        close_lanes: bool,
        top_up: bool = True,
    ) -> None:
        self._reports = reports
        self._network = network
        self._payer = payer
        self._chain = chain
        self._lanes = lanes
        self._books = books
        self._files = files
        self._clock = clock
        self._fail = fail
        self._poll_s = poll_s
        self._close_lanes = close_lanes
        self._top_up = TopUp(payer, clock, automatic=top_up, poll_s=poll_s)

    async def perform(self, what: Duty, board: LeaseBoard) -> None:
        """Do one duty. Raises Unavailable or PeerUnreachable when the world is in the way; the driver repeats it."""
        match what:
            case Duty.FUND_LANE:
                await self._fund(board)
            case Duty.SEND_INPUTS:
                await self._send_inputs(board)
            case Duty.ANSWER_REPORTS:
                await self._answer_reports(board)
            case Duty.FETCH_OUTPUTS:
                await self._fetch_outputs(board)
            case Duty.CLOSE_LANE:
                await self._settle(board)
            case Duty.FREE_COVER:
                await self._free_cover(board)

    async def _fund(self, board: LeaseBoard) -> None:
        cap, cover = board.state.cap, cover_wanted(board.state, board.spec.fund_ahead_ms)
        try:
            await self._payer.reserve(board.lease_id, board.lane.payee, cap)
            sent = await self._payer.ensure_funded(board.lease_id, cover)
        except InvalidRequest as error:
            await self._fail(board, error)
            await board.record(CancelRequested(at=self._clock.now_ms()))
            return
        await board.record(LaneFunded(at=self._clock.now_ms(), amount=cover, transaction=sent.hash if sent else b""))

    async def _send_inputs(self, board: LeaseBoard) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._files.follow_logs, board)
            for index in range(len(board.spec.inputs)):
                await self._files.send_input(board, index)
            await board.note("preparing", msgspec.json.encode({"detail": _sent(board)}), self._clock.now_ms())

    async def _answer_reports(self, board: LeaseBoard) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._files.follow_logs, board)
            nursery.start_soon(self._top_up.keep_covered, board)

    async def _fetch_outputs(self, board: LeaseBoard) -> None:
        """Files first, final payment after: what we hold cannot be withheld from us."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._files.follow_logs, board)
            if board.state.exit_reason in _ENDED_BY_US:
                nursery.start_soon(self._ask_to_stop, board)
            await self._reports.saw_exit(board.lease_id).wait()
            if board.state.started_at and board.state.exit_reason not in _NEVER_STARTED:
                await self._files.wait_log_end(board)
                summary = await self._files.fetch_outputs(board)
                await board.note("outputs", msgspec.json.encode(summary), self._clock.now_ms())
            nursery.cancel_scope.cancel()
        self._reports.outputs_fetched.add(board.lease_id)

    async def _ask_to_stop(self, board: LeaseBoard) -> None:
        request = codec.pack({"lease": board.lease_id})
        while not self._reports.saw_exit(board.lease_id).is_set():
            try:
                await self._network.request(
                    board.provider, wire.PROTOCOL_CANCEL, request, timeout=wire.REQUEST_TIMEOUT_S
                )
            except PeerUnreachable:
                log.info("lease %s: provider does not answer the stop", board.lease_id.hex()[:8])
            await trio.sleep(_REPEAT_S)

    async def _settle(self, board: LeaseBoard) -> None:
        """See the chain pay what we signed, and take the rest home unless the lane is wanted for more jobs."""
        await self._payer.release(board.lease_id)
        payee = board.lane.payee
        self._lanes.learn(payee, board.provider)
        while board.state.stage is Stage.SETTLING:
            lane = await self._chain.lane(board.lane)
            home = lane.balance == lane.claimed
            paid = lane.claimed >= signed_for(board)
            if home or (paid and (not self._close_lanes or self._lanes.in_use(payee))):
                await self._record_settled(board, reclaimed=not paid)
                return
            if self._close_lanes:
                await self._lanes.step(payee)
            await trio.sleep(self._poll_s)

    async def _record_settled(self, board: LeaseBoard, *, reclaimed: bool) -> None:
        totals = await self._books.totals(board.lane)
        now = self._clock.now_ms()
        detail = describe_share(share_of(board, totals.paid), transactions_of(board, totals), totals)
        await board.note("settled", msgspec.json.encode(detail), now)
        kind = ReclaimConfirmed if reclaimed else SettlementConfirmed
        await board.record(kind(at=now, transaction=totals.last_transaction, paid=board.state.paid))

    async def _free_cover(self, board: LeaseBoard) -> None:
        await self._payer.release(board.lease_id)
        if board.state.stage is Stage.LAPSED:
            await self._give_back(board)
        self._reports.forget(board.lease_id)

    async def _give_back(self, board: LeaseBoard) -> None:
        """Tell the provider that nothing will come: its slots need not wait for the deadline. One try is courtesy."""
        request = codec.pack({"lease": board.lease_id})
        with suppress(PeerUnreachable):
            await self._network.request(board.provider, wire.PROTOCOL_CANCEL, request, timeout=wire.AWARD_TIMEOUT_S)


def _sent(board: LeaseBoard) -> str:
    total = sum(item.size for item in board.spec.inputs)
    return f"{len(board.spec.inputs)} inputs sent, {total} bytes"
