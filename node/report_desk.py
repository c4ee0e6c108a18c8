"""Answers usage reports: the only place where a requester's money leaves its hands, tick by tick.

A report is paid when it continues the chain of reports, counts no more time than has passed on our own stopwatch,
and multiplies to exactly the agreed price. The same report asked twice gets the same voucher.
"""

from __future__ import annotations

import trio

from ledger.payer import Payer
from ledger.voucher import encode_voucher
from market import codec
from market.errors import PeerFault
from market.lease import OVER, ContainerExited, ContainerStarted, Stage
from market.records import ExitReason, UsageReport
from market.signing import Verified, verify
from market.usage import ReportRefusal, judge_report
from node import wire
from node.lease_board import DETAIL, LeaseBoard, PaidReport, payment_fact
from node.ports import Clock, Network


class ReportDesk:
    """Judges and pays the reports of all leases this node bought.

    Attributes:
        boards: leases by id, shared with the requester desk.
        outputs_fetched: leases whose final report may be paid: nothing is owed to us any more.
        exit_seen: per lease, set once its provider said by a final report that the container is done.
    """

    def __init__(self, boards: dict[bytes, LeaseBoard], *, payer: Payer, network: Network, clock: Clock) -> None:
        self.boards = boards
        self.outputs_fetched: set[bytes] = set()
        self.exit_seen: dict[bytes, trio.Event] = {}
        self._payer = payer
        self._network = network
        self._clock = clock
        self._locks: dict[bytes, trio.StrictFIFOLock] = {}

    def register(self) -> None:
        """Answer reports. Call before the network talks."""
        self._network.serve(wire.PROTOCOL_REPORT, self._answer, max_request=8192)

    def forget(self, lease_id: bytes) -> None:
        """The lease is over."""
        self.outputs_fetched.discard(lease_id)
        self.exit_seen.pop(lease_id, None)
        self._locks.pop(lease_id, None)

    def saw_exit(self, lease_id: bytes) -> trio.Event:
        """An event that is set once the provider said, by its final report, that the container is done."""
        return self.exit_seen.setdefault(lease_id, trio.Event())

    async def _answer(self, peer: bytes, request: bytes) -> bytes:
        asked = codec.unpack(request)
        report = verify(asked.get("report") or b"" if isinstance(asked, dict) else b"", UsageReport)
        board = self.boards.get(report.record.lease_id)
        if report.signer != peer:
            raise PeerFault("a report signed by another node", code="wrong_author")
        if board is None or board.provider != peer:
            return _refused(ReportRefusal.LEASE_OVER)
        # One report of a lease at a time: two answers in flight could sign the same step twice.
        async with self._locks.setdefault(board.lease_id, trio.StrictFIFOLock()):
            return await self._judge(board, report)

    async def _judge(self, board: LeaseBoard, report: Verified[UsageReport]) -> bytes:
        if board.newest_paid is not None and report.id == board.chain.head:
            return codec.pack({"voucher": board.newest_paid.row})
        now = self._clock.now_ms()
        stage = board.state.stage
        if stage is Stage.GRANTED:
            return _refused(ReportRefusal.NOT_FUNDED)
        if stage is Stage.SETTLING or stage in OVER:
            return _refused(ReportRefusal.LEASE_OVER)
        refusal = judge_report(
            report, board.chain, board.state, lease_id=board.lease_id, funded_at=board.funded_at, now=now
        )
        if refusal is not None:
            return _refused(refusal)
        await self._follow_stage(board, report.record, now)
        if report.record.final and board.lease_id not in self.outputs_fetched:
            return _refused(ReportRefusal.OUTPUTS_PENDING)
        return await self._pay(board, report)

    async def _follow_stage(self, board: LeaseBoard, report: UsageReport, now: int) -> None:
        """A first report says that the job runs, a final one that it ended: our own table follows."""
        if board.state.stage is Stage.FUNDED and report.started_at:
            await board.record(ContainerStarted(at=now, started_at=report.started_at))
        if report.final and _says_more(board, report):
            reason = ExitReason(report.exit_reason) if report.exit_reason in _REASONS else ExitReason.LOST
            await board.record(ContainerExited(at=now, reason=reason, exit_code=report.exit_code, finished_at=0))
        if report.final:
            if report.detail and not board.detail:
                await board.note(DETAIL, report.detail.encode(), now)
            self.saw_exit(board.lease_id).set()

    async def _pay(self, board: LeaseBoard, report: Verified[UsageReport]) -> bytes:
        row = b""
        if report.record.amount:
            row = encode_voucher(await self._payer.acknowledge(board.lease_id, report.record.amount))
        fact = payment_fact(report.record, self._clock.now_ms())
        if not await board.record(fact, paid=PaidReport(report=report.raw, row=row)):
            return _refused(ReportRefusal.LEASE_OVER)
        return codec.pack({"voucher": row})


def _says_more(board: LeaseBoard, report: UsageReport) -> bool:
    """A final report is sent until it is paid; only its first telling of an exit, or of its code, is news."""
    return board.state.stage is not Stage.ENDING or (board.state.exit_code == -1 and report.exit_code != -1)


def _refused(reason: ReportRefusal) -> bytes:
    return codec.pack({"refused": str(reason)})


_REASONS = frozenset(str(reason) for reason in ExitReason)
