"""Receipts for the programs that write bills: CSV, and CloudEvents in a JSON batch. Pure.

One line or event for each receipt, with what it *added*: sums over any choice of them are exact. CloudEvents 1.0: the
``type`` is :data:`EVENT_TYPE`, the ``source`` is the provider's node, ``subject`` the lease, ``time`` when the receipt
was answered; ``source`` and ``id`` together name a receipt for ever, so that importing one twice counts it once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

EVENT_TYPE = "io.computefabric.receipt.v1"
COLUMNS = (
    "job",
    "lease",
    "role",
    "sequence",
    "receipt",
    "answered_at",
    "measured_at",
    "provider",
    "requester",
    "payer",
    "payee",
    "signer",
    "chain_id",
    "escrow",
    "machine",
    "gpu",
    "price_nano_per_gpu_second",
    "gpu_ms",
    "amount_units",
    "amount",
    "lease_gpu_ms",
    "lease_amount_units",
    "lane_before",
    "lane_after",
    "voucher_units",
    "final",
    "transaction",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(lines: Sequence[dict[str, Any]]) -> bytes:
    """A table with a header (RFC 4180). Empty cells are what is not there."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow([_cell(line[name]) for name in COLUMNS])
    return out.getvalue().encode("utf-8", "backslashreplace")


def to_cloudevents(lines: Sequence[dict[str, Any]]) -> bytes:
    """A JSON batch (``application/cloudevents-batch+json``)."""
    return json.dumps([_event(line) for line in lines], indent=1).encode() + b"\n"


def _event(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "type": EVENT_TYPE,
        "source": f"urn:computefabric:node:{line['provider']}",
        "id": f"{line['lease']}/{line['sequence']}",
        "subject": line["lease"],
        "time": line["answered_at"],
        "datacontenttype": "application/json",
        "data": line,
    }


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(_FORMULA):
        # The machine's name is its owner's choice, and a spreadsheet would run it.
        return "'" + value
    return value
