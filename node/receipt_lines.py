"""The receipts of one lease as they are kept, and the lines of a bill that they add up to. Pure.

A *line* is what one receipt added: the lines of a lease add up to what its last receipt says, to the unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ledger.ports import JournalEntry
from ledger.voucher import decode_voucher
from market import codec
from market.errors import InvalidRequest, PeerFault
from market.money import format_tokens
from market.records import Award, Lease, ReceiptRefusal, UsageReport
from market.signing import digest, read
from market.usage import receipt_id
from node.control import rfc3339
from node.lease_board import REPORT_PAID, REPORT_REFUSED, Newest, Opened, PaidReport, RefusedReport

SETTLED = "settled"


class Answered(Struct, frozen=True, kw_only=True):
    """A report and what answered it, at our clock's ``at``: an encoded voucher (empty when nothing was owed), or the
    requester's signed refusal."""

    report: bytes
    at: int
    voucher: bytes = b""
    refusal: bytes = b""


class LeaseReceipts(Struct, frozen=True, kw_only=True):
    """All that was kept of one lease. ``settled`` is what we saw of it on the chain, as a ``settled`` event tells."""

    role: str
    job: str
    gpu: str
    lease: bytes
    answers: tuple[Answered, ...] = ()
    settled: dict[str, Any] | None = None

    @property
    def paid(self) -> list[Answered]:
        """The receipts, without the refused ones."""
        return [one for one in self.answers if not one.refusal]


class Period(Struct, frozen=True, kw_only=True):
    """From ``since`` until before ``until``, UTC milliseconds of when a receipt was answered."""

    since: int = 0
    until: int = 253_402_300_799_999


def kept_receipts(entries: Sequence[JournalEntry], *, gpu: str = "", passing: Newest | None = None) -> LeaseReceipts:
    """What a lease's stream in the journal holds, and its newest receipt where that is not in it yet."""
    opened = msgspec.msgpack.decode(entries[0].body, type=Opened)
    answers, settled = [], None
    for entry in entries:
        if entry.kind == REPORT_PAID:
            paid = msgspec.msgpack.decode(entry.body, type=PaidReport)
            answers.append(Answered(report=paid.report, at=entry.at_ms, voucher=paid.row))
        elif entry.kind == REPORT_REFUSED:
            refused = msgspec.msgpack.decode(entry.body, type=RefusedReport)
            answers.append(Answered(report=refused.report, at=entry.at_ms, refusal=refused.refusal))
        elif entry.kind == SETTLED:
            settled = msgspec.json.decode(entry.body)
    if passing is not None:
        answers.append(Answered(report=passing.paid.report, at=passing.fact.at, voucher=passing.paid.row))
    return LeaseReceipts(
        role=str(opened.role), job=opened.job_id, gpu=gpu, lease=opened.lease, answers=tuple(answers), settled=settled
    )


def lines_of(kept: LeaseReceipts, period: Period) -> list[dict[str, Any]]:
    """What each receipt of the period added to the bill.

    Raises:
        PeerFault: an original cannot be read.
    """
    lease = read(kept.lease, Lease).record
    award = read(lease.award, Award).record
    lines, gpu_ms, amount = [], 0, 0
    for answered in kept.paid:
        report = read(answered.report, UsageReport).record
        if period.since <= answered.at < period.until:
            numbers = {"gpu_ms": report.gpu_ms - gpu_ms, "amount_units": report.amount - amount}
            lines.append(_line(kept, lease, award, answered, report) | numbers)
        gpu_ms, amount = report.gpu_ms, report.amount
    for line in lines:
        line["amount"] = format_tokens(line["amount_units"])
    return lines


def refusals_of(kept: LeaseReceipts) -> list[dict[str, Any]]:
    """The receipts that were refused, and why."""
    return [
        {
            "sequence": refusal.sequence,
            "answered_at": rfc3339(answered.at),
            "reason": refusal.reason,
            "expected": refusal.expected,
            "found": refusal.found,
        }
        for answered in kept.answers
        if answered.refusal
        for refusal in (read(answered.refusal, ReceiptRefusal).record,)
    ]


def to_json(kept: LeaseReceipts) -> dict[str, Any]:
    """One lease as plain data, its originals in hex."""
    return {
        "role": kept.role,
        "job": kept.job,
        "gpu": kept.gpu,
        "lease": kept.lease.hex(),
        "settled": kept.settled,
        "answers": [
            {"at": one.at, "report": one.report.hex()}
            | ({"refusal": one.refusal.hex()} if one.refusal else {"voucher": one.voucher.hex()})
            for one in kept.answers
        ],
    }


def from_json(said: Any) -> LeaseReceipts:
    """Read :func:`to_json`.

    Raises:
        InvalidRequest: ``not_receipts``: it is nothing of the kind.
    """
    try:
        answers = tuple(
            Answered(
                report=bytes.fromhex(one["report"]),
                at=whole(one["at"]),
                voucher=bytes.fromhex(one.get("voucher", "")),
                refusal=bytes.fromhex(one.get("refusal", "")),
            )
            for one in said["answers"]
        )
        words = [said[name] for name in ("role", "job", "gpu")]
        settled = said["settled"]
        if not all(isinstance(word, str) for word in words) or not isinstance(settled, dict | None):
            raise TypeError
        lease = bytes.fromhex(said["lease"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidRequest("these are not the receipts of a lease", code="not_receipts") from None
    role, job, gpu = words
    return LeaseReceipts(role=role, job=job, gpu=gpu, lease=lease, answers=answers, settled=settled)


def whole(value: Any) -> int:
    """A time in milliseconds as a file has it. Raises ValueError when it is none."""
    if type(value) is not int or not 0 <= value <= 253_402_300_799_999:
        raise ValueError
    return value


def totals_of(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The sums of some lines, in whole units."""
    units = sum(line["amount_units"] for line in lines)
    return {
        "receipts": len(lines),
        "gpu_ms": sum(line["gpu_ms"] for line in lines),
        "amount_units": units,
        "amount": format_tokens(units),
    }


def _line(kept: LeaseReceipts, lease: Lease, award: Award, answered: Answered, report: UsageReport) -> dict[str, Any]:
    row = answered.voucher
    return {
        "job": kept.job,
        "lease": lease.lease_id.hex(),
        "role": kept.role,
        "sequence": report.sequence,
        "receipt": receipt_id(read_id(answered.report), row).hex(),
        "answered_at": rfc3339(answered.at),
        "measured_at": rfc3339(report.measured_at),
        "provider": award.provider.hex(),
        "requester": award.requester.hex(),
        "payer": "0x" + award.payer.hex(),
        "payee": "0x" + award.payee.hex(),
        "signer": "0x" + award.signer.hex(),
        "chain_id": award.chain_id,
        "escrow": "0x" + award.escrow.hex(),
        "machine": award.machine,
        "gpu": kept.gpu,
        "price_nano_per_gpu_second": award.price,
        "lease_gpu_ms": report.gpu_ms,
        "lease_amount_units": report.amount,
        "lane_before": report.lane_before,
        "lane_after": report.lane_after,
        "voucher_units": decode_voucher(row).cumulative if row else None,
        "final": report.final,
        "transaction": _last_transaction(kept.settled),
    }


def read_id(raw: bytes) -> bytes:
    """The id of a signed record, from its envelope, without checking the signature."""
    envelope = codec.unpack(raw, limit=max(len(raw), 1))
    body = envelope.get("body") if isinstance(envelope, dict) else None
    if not isinstance(body, bytes):
        raise PeerFault("not an envelope", code="undecodable")
    return digest(body)


def _last_transaction(settled: dict[str, Any] | None) -> str:
    transactions = (settled or {}).get("transactions")
    last = transactions[-1] if isinstance(transactions, list) and transactions else None
    return str(last.get("hash", "")) if isinstance(last, dict) else ""
