"""Answers usage reports: the only place where a requester's money leaves its hands, tick by tick.

A report is paid when it continues the chain of reports, counts no more time than has passed on our own stopwatch,
multiplies to exactly the agreed price, adds up with the lane, and bears the signature of the account that is paid. The
same report asked twice gets the same voucher. What is not paid is answered with a signed refusal: it says what was
expected and what was found, and both sides keep it.
"""

from __future__ import annotations

import trio

from ledger.payer import Payer
from ledger.statement import check_statement
from ledger.voucher import encode_voucher
from market import codec
from market.errors import PeerFault
from market.lease import OVER, ContainerExited, ContainerStarted, Stage
from market.records import ExitReason, ReceiptRefusal, UsageReport
from market.signing import Signer, Verified, verify
from market.statements import read_receipt
from market.usage import Refused, ReportRefusal, judge_report
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

    def __init__(
        self, boards: dict[bytes, LeaseBoard], *, signer: Signer, payer: Payer, network: Network, clock: Clock
    ) -> None:
        self.boards = boards
        self.outputs_fetched: set[bytes] = set()
        self.exit_seen: dict[bytes, trio.Event] = {}
        self._signer = signer
        self._payer = payer
        self._network = network
        self._clock = clock
        self._locks: dict[bytes, trio.StrictFIFOLock] = {}

    def register(self) -> None:
        """Answer reports. Call once the leases are known, so that none is said to be unknown."""
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
            return self._answer_of(self._sign(report, Refused(ReportRefusal.UNKNOWN_LEASE)))
        # One report of a lease at a time: two answers in flight could sign the same step twice.
        async with self._locks.setdefault(board.lease_id, trio.StrictFIFOLock()):
            answered = await self._judge(board, report)
        return answered if isinstance(answered, bytes) else await self._refuse(board, report, answered)

    async def _judge(self, board: LeaseBoard, report: Verified[UsageReport]) -> bytes | Refused:
        """The answer with a voucher, or why there is none."""
        if board.newest_paid is not None and report.id == board.chain.head:
            return codec.pack({"voucher": board.newest_paid.row})
        now = self._clock.now_ms()
        stage = board.state.stage
        if stage is Stage.GRANTED:
            return Refused(ReportRefusal.NOT_FUNDED)
        if stage is Stage.SETTLING or stage in OVER:
            return Refused(ReportRefusal.LEASE_OVER, found=str(stage))
        refused = self._why_not(board, report, now)
        if refused is not None:
            return refused
        await self._follow_stage(board, report.record, now)
        if report.record.final and board.lease_id not in self.outputs_fetched:
            return Refused(ReportRefusal.OUTPUTS_PENDING, "outputs before the last payment")
        return await self._pay(board, report)

    def _why_not(self, board: LeaseBoard, report: Verified[UsageReport], now: int) -> Refused | None:
        # A lease of an older node has no grants, and its reports no signature of the account. New ones must.
        is_receipt = bool(board.lease.record.grants)
        refused = judge_report(
            report,
            board.chain,
            board.state,
            lease_id=board.lease_id,
            funded_at=board.funded_at,
            now=now,
            lane_signed=self._signed_on_lane(board) if is_receipt else None,
        )
        if refused is not None or not is_receipt:
            return refused
        if (found := report.record.fencing) != (granted := board.lease.record.fencing):
            return Refused(ReportRefusal.WRONG_LEASE, f"the lease of number {granted}", f"of number {found}")
        try:
            check_statement(board.domain, board.lane.payee, read_receipt(report))
        except PeerFault as fault:
            return Refused(_ACCOUNT_FAULTS[fault.code], "0x" + board.lane.payee.hex(), fault.message)
        return None

    def _signed_on_lane(self, board: LeaseBoard) -> int:
        return next((lane.signed for lane in self._payer.summary() if lane.lane == board.lane), 0)

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

    async def _pay(self, board: LeaseBoard, report: Verified[UsageReport]) -> bytes | Refused:
        row = b""
        if report.record.amount:
            try:
                row = encode_voucher(await self._payer.acknowledge(board.lease_id, report.record.amount))
            except PeerFault as fault:
                if fault.code not in _UNCOVERED:
                    raise
                return Refused(_UNCOVERED[fault.code], found=fault.message)
        fact = payment_fact(report.record, self._clock.now_ms())
        if not await board.record(fact, paid=PaidReport(report=report.raw, row=row)):
            return Refused(ReportRefusal.LEASE_OVER, found=str(board.state.stage))
        return codec.pack({"voucher": row})

    async def _refuse(self, board: LeaseBoard, report: Verified[UsageReport], refused: Refused) -> bytes:
        # The same report refused for the same reason gets the same answer: the reason is news once.
        known = board.refusals.get((report.id, str(refused.reason)))
        if known is None:
            known = self._sign(report, refused)
            await board.remember_refusal(report, known, self._clock.now_ms())
        return self._answer_of(known)

    def _sign(self, report: Verified[UsageReport], refused: Refused) -> Verified[ReceiptRefusal]:
        return self._signer.sign(
            ReceiptRefusal(
                requester=self._signer.key,
                lease_id=report.record.lease_id,
                sequence=report.record.sequence,
                report=report.id,
                reason=str(refused.reason),
                expected=refused.expected[:512],
                found=refused.found[:512],
                refused_at=self._clock.now_ms(),
            )
        )

    @staticmethod
    def _answer_of(refusal: Verified[ReceiptRefusal]) -> bytes:
        # The bare word is for nodes of before there were signed refusals.
        return codec.pack({"refused": refusal.record.reason, "refusal": refusal.raw})


def _says_more(board: LeaseBoard, report: UsageReport) -> bool:
    """A final report is sent until it is paid; only its first telling of an exit, or of its code, is news."""
    return board.state.stage is not Stage.ENDING or (board.state.exit_code == -1 and report.exit_code != -1)


_REASONS = frozenset(str(reason) for reason in ExitReason)
_ACCOUNT_FAULTS = {
    "unsigned_statement": ReportRefusal.UNSIGNED_RECEIPT,
    "wrong_account": ReportRefusal.WRONG_ACCOUNT,
}
_UNCOVERED = {"over_cap": ReportRefusal.OVER_CAP, "over_balance": ReportRefusal.OVER_BALANCE}
