"""Asks the requester for what is owed: the provider's half of every payment, tick by tick.

The order of acts is the safety of the money: a report is on disk before it is sent, and a voucher before its payment is
believed. A report is signed twice, by the node and by the account that is paid, and under one number only once: what
was written is sent again as it is until it is paid, or refused for good.
"""

from __future__ import annotations

import logging

from ledger.payee import Payee, Wallet
from ledger.statement import with_account_signature
from market import codec
from market.errors import PeerFault, Unavailable
from market.lease import DeadlinePassed
from market.records import ReceiptRefusal, UsageReport
from market.signing import Signer, Verified, verify
from market.usage import ReportRefusal, write_report
from node import wire
from node.lease_board import LeaseBoard, PaidReport, payment_fact
from node.ports import Clock, Network, PeerUnreachable
from runtime.ports import ContainerEngine

log = logging.getLogger(__name__)


class ReportSender:
    """Writes, sends and remembers the reports of all leases this node sells.

    Args:
        signer: the node's key.
        wallet: the account that is paid.
    """

    def __init__(
        self, *, signer: Signer, wallet: Wallet, network: Network, engine: ContainerEngine, payee: Payee, clock: Clock
    ) -> None:
        self._signer = signer
        self._wallet = wallet
        self._network = network
        self._engine = engine
        self._payee = payee
        self._clock = clock

    async def send(self, board: LeaseBoard, *, final: bool) -> bool:
        """Send the pending report, or write one first. True when it was paid.

        A refusal for good ends the time that the requester has left in this stage: nothing more will be paid in it.
        """
        report = board.pending or await self._write(board, final=final)
        request = codec.pack({"report": report.raw})
        # A request that is lost on the way must leave time for another one within the grace.
        timeout = min(wire.REQUEST_TIMEOUT_S, board.state.terms.grace_ms / 2000)
        try:
            answer = await self._network.request(board.requester, wire.PROTOCOL_REPORT, request, timeout=timeout)
            row = await self._read_answer(board, report, answer)
            if row is None:
                return False
            if report.record.amount:
                await self._payee.accept(board.lease_id, report.record.amount, row)
            else:
                row = b""  # nothing was owed, so whatever came with the answer is not a voucher
        except (PeerUnreachable, PeerFault, Unavailable) as error:
            # Also a chain that is away, or a full disk: whoever calls must go on to freeze the job when it is time.
            log.info("lease %s: report %d not paid: %s", board.lease_id.hex()[:8], report.record.sequence, error)
            if isinstance(error, PeerFault):
                self._network.penalise(board.requester, error.code)
            return False
        fact = payment_fact(report.record, self._clock.now_ms())
        return await board.record(fact, paid=PaidReport(report=report.raw, row=row))

    async def _write(self, board: LeaseBoard, *, final: bool) -> Verified[UsageReport]:
        usage = await self._engine.usage(board.lease_id.hex())
        now = self._clock.now_ms()
        written = write_report(
            board.state,
            provider=self._signer.key,
            lease_id=board.lease_id,
            chain=board.chain,
            now=now,
            cpu_ms=usage.cpu_ms,
            memory_peak_mib=usage.memory_peak_mib,
            final=final,
            detail=board.detail,
            lane_signed=self._payee.owed_cumulative(board.lane),
            fencing=board.lease.record.fencing,
        )
        report = self._signer.sign(with_account_signature(written, board.domain, self._wallet.sign))
        await board.remember_report(report, now)
        return report

    async def _read_answer(self, board: LeaseBoard, report: Verified[UsageReport], answer: bytes) -> bytes | None:
        """The encoded voucher, empty when nothing was owed; None when the requester did not pay (yet)."""
        reply = codec.unpack(answer)
        if not isinstance(reply, dict):
            return None
        if isinstance(voucher := reply.get("voucher"), bytes):
            return voucher
        if isinstance(raw := reply.get("refusal"), bytes):
            await self._refused(board, report, _read_refusal(board, report, raw))
        return None

    async def _refused(
        self, board: LeaseBoard, report: Verified[UsageReport], refusal: Verified[ReceiptRefusal]
    ) -> None:
        told, now = refusal.record, self._clock.now_ms()
        await board.remember_refusal(report, refusal, now)
        if told.reason in _PASSING:
            return
        log.info(
            "lease %s: report %d refused: %s (expected %s, found %s)",
            *(board.lease_id.hex()[:8], told.sequence, told.reason, told.expected, told.found),
        )
        if told.reason in _FOR_GOOD:
            await board.record(DeadlinePassed(at=now))


def _read_refusal(board: LeaseBoard, report: Verified[UsageReport], raw: bytes) -> Verified[ReceiptRefusal]:
    refusal = verify(raw, ReceiptRefusal)
    about = (refusal.record.lease_id, refusal.record.report, refusal.record.sequence)
    if refusal.signer != board.requester or about != (board.lease_id, report.id, report.record.sequence):
        raise PeerFault("a refusal of another report, or by another node", code="wrong_refusal")
    return refusal


_PASSING = frozenset(str(reason) for reason in ReportRefusal if reason.passes)
_FOR_GOOD = frozenset(str(reason) for reason in ReportRefusal if not reason.passes)
"""Reasons of newer nodes are in neither: the grace time decides about them."""
