"""Leases with receipts that are in order, for tests to spoil: made by the parties' own keys and rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ledger.statement import with_account_signature, with_grants
from ledger.voucher import Domain, encode_voucher, sign_voucher
from market import money
from market.lease import LeaseState, Stage
from market.records import UsageReport
from market.signing import Verified
from market.usage import ReportChain, extend, write_report
from node.lease_board import lease_id_of
from node.receipt_audit import read_deal
from node.receipt_lines import Answered, LeaseReceipts
from tests.fakes.samples import (
    BUYER,
    CHAIN_ID,
    ESCROW,
    NOW,
    PAYEE_KEY,
    SELLER,
    SESSION_KEY,
    a_lease,
    a_receipt_refusal,
    an_award,
)

DOMAIN = Domain(CHAIN_ID, ESCROW)


def a_signed_lease(*, granted: bool = True, fencing: int = 5, **changes: Any) -> bytes:
    """A lease between BUYER and SELLER, and the award in it."""
    award = BUYER.sign(an_award(**changes))
    lease_id = lease_id_of(BUYER.key, SELLER.key, award.record.bid_id)
    lease = a_lease(award, lease_id=lease_id, fencing=fencing)
    if granted:
        domain = Domain(award.record.chain_id, award.record.escrow)
        lease = with_grants(lease, award.record.machine, domain, PAYEE_KEY.sign)
    return SELLER.sign(lease).raw


def a_receipt(
    kept: LeaseReceipts, chain: ReportChain, gpu_ms: int, *, lane: int, final: bool = False
) -> Verified[UsageReport]:
    """The next receipt of a lease that has run for ``gpu_ms`` in all, on a lane that stands at ``lane``."""
    deal = read_deal(kept)
    award = deal.award
    state = LeaseState(
        price=award.price,
        slots=award.slots,
        max_duration_ms=award.max_duration_ms,
        terms=award.terms,
        stage=Stage.RUNNING,
        since=NOW,
        started_at=NOW,
        gpu_ms=gpu_ms,
        finished_at=NOW,
    )
    written = write_report(
        state,
        provider=SELLER.key,
        lease_id=deal.lease.record.lease_id,
        chain=chain,
        now=NOW + gpu_ms,
        final=final,
        lane_signed=lane,
        fencing=deal.lease.record.fencing,
    )
    return SELLER.sign(with_account_signature(written, deal.domain, PAYEE_KEY.sign))


def some_receipts(
    steps: Sequence[int] = (0, 5_000, 5_000, 1_234), *, lane: int = 0, settled: bool = True, **changes: Any
) -> LeaseReceipts:
    """A lease that ran for ``steps`` milliseconds between its receipts, on a lane where ``lane`` units were signed."""
    kept = LeaseReceipts(role="requester", job="j" * 32, gpu="RTX4090", lease=a_signed_lease(**changes))
    deal, chain, answers, gpu_ms, paid = read_deal(kept), ReportChain(), [], 0, 0
    for number, step in enumerate(steps, 1):
        gpu_ms += step
        report = a_receipt(kept, chain, gpu_ms, lane=lane, final=number == len(steps))
        row = b""
        if report.record.amount:
            lane += report.record.amount - paid
            row = encode_voucher(sign_voucher(SESSION_KEY, deal.domain, deal.lane, lane))
        paid = report.record.amount
        chain = extend(chain, report, NOW, lane=lane if row else 0)
        answers.append(Answered(report=report.raw, at=NOW + gpu_ms + 7, voucher=row))
    share = {
        "deposited": _money(deal.cap),
        "paid": _money(paid),
        "refunded": _money(deal.cap - paid),
        "vouched": _money(paid),
        "reclaimed": False,
        "transactions": [{"purpose": "close", "hash": "0x" + "72" * 32, "block": 9}],
    }
    return LeaseReceipts(
        role=kept.role,
        job=kept.job,
        gpu=kept.gpu,
        lease=kept.lease,
        answers=tuple(answers),
        settled=share if settled else None,
    )


def refused(kept: LeaseReceipts, report: Verified[UsageReport], reason: str = "broken_chain") -> Answered:
    """A report that the requester of the lease refused."""
    record = a_receipt_refusal(
        lease_id=read_deal(kept).lease.record.lease_id, report=report.id, sequence=report.record.sequence, reason=reason
    )
    return Answered(report=report.raw, at=NOW, refusal=BUYER.sign(record).raw)


def _money(units: int) -> dict[str, Any]:
    return {"amount": money.format_tokens(units), "units": units}
