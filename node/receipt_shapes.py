"""Receipts as plain data: lines of a bill, checks, files. Shapes for the reference in docs/json.md."""

from __future__ import annotations

from typing import Any, TypedDict

from node.control_shapes import ReceiptView


class ReceiptLine(TypedDict):
    """What one receipt added: ``gpu_ms`` and ``amount_units`` are its own, those with ``lease_`` the lease's so far.

    ``lane_before`` and ``lane_after`` are what the receipt says of the lane, ``voucher_units`` what the voucher that
    answered it is for in all: null when nothing was owed. ``answered_at`` is by the clock of the node that wrote this,
    ``role`` its side. ``transaction`` is the last that settled the lease, as far as that node knows.
    """

    job: str
    lease: str
    role: str
    sequence: int
    receipt: str
    answered_at: str
    measured_at: str
    provider: str
    requester: str
    payer: str
    payee: str
    signer: str
    chain_id: int
    escrow: str
    machine: str
    gpu: str
    price_nano_per_gpu_second: int
    gpu_ms: int
    amount_units: int
    amount: str
    lease_gpu_ms: int
    lease_amount_units: int
    lane_before: int
    lane_after: int
    voucher_units: int | None
    final: bool
    transaction: str


class RefusedReceipt(TypedDict):
    """A receipt that the requester refused, with its signed reason."""

    sequence: int
    answered_at: str
    reason: str
    expected: str
    found: str


class ShownReceipt(ReceiptView, total=False):
    """A receipt in full, with what each step added and what was refused."""

    lines: list[ReceiptLine]
    refusals: list[RefusedReceipt]


class ReceiptCheck(TypedDict):
    """One check. ``result`` is ``pass``, ``fail`` or ``skipped``; ``lease`` is empty for a file as a whole."""

    lease: str
    check: str
    result: str
    detail: str


class VerifiedReceipts(TypedDict):
    """What became of all checks; the exit code is 1 unless ``valid``. ``chain`` is ``checked`` or ``offline``."""

    valid: bool
    leases: int
    receipts: int
    chain: str
    checks: list[ReceiptCheck]


class ReceiptTotals(TypedDict):
    """Sums of some lines, to the unit."""

    receipts: int
    gpu_ms: int
    amount_units: int
    amount: str


class KeptLease(TypedDict):
    """The originals of a lease, in hex: ``answers`` hold ``at``, ``report`` and ``voucher`` or ``refusal``."""

    role: str
    job: str
    gpu: str
    lease: str
    settled: dict[str, Any] | None
    answers: list[dict[str, Any]]


class ReceiptFile(TypedDict):
    """Lines of a period (``since`` to ``until``, milliseconds), the originals behind them, and a digest over all."""

    format: str
    since: int
    until: int
    leases: list[KeptLease]
    lines: list[ReceiptLine]
    totals: ReceiptTotals
    digest: str


class WrittenReceipts(TypedDict):
    """With ``--output``: what was written."""

    file: str
    format: str
    receipts: int
    gpu_ms: int
    amount_units: int
    amount: str


class EquivocationProof(TypedDict):
    """Two statements of one account under one number; ``kind`` is ``receipt`` or ``grant``. Bytes are hex."""

    format: str
    chain_id: int
    escrow: str
    provider: str
    kind: str
    subject: str
    sequence: int
    body_a: str
    signature_a: str
    body_b: str
    signature_b: str


class WrittenProof(TypedDict):
    """With ``--output``: what was written."""

    file: str
    provider: str
    seq: int
