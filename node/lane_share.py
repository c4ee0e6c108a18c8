"""One job's share of its lane: what was set aside for it, what the provider drew, what came back. Pure.

A lane may serve many jobs; its sums are the wallet's business. A bill is for one job, and must add up by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from ledger.voucher import decode_voucher
from node.control import money
from node.lane_history import LaneTotals, LaneTransaction
from node.lease_board import LeaseBoard


class LaneShare(Struct, frozen=True, kw_only=True):
    """Token units: ``set_aside = drawn + returned``. ``vouched`` is what was signed for the job."""

    set_aside: int
    vouched: int
    drawn: int

    @property
    def returned(self) -> int:
        """What of the job's cap is the payer's again."""
        return self.set_aside - self.drawn

    @property
    def reclaimed(self) -> bool:
        """Whether the payer's exit took home what had been vouched and was never drawn."""
        return self.drawn < self.vouched


def signed_for(board: LeaseBoard) -> int:
    """The lane's cumulative up to and with this lease's last voucher: when that is claimed, the lease is paid."""
    paid = board.newest_paid
    return decode_voucher(paid.row).cumulative if paid and paid.row else 0


def share_of(board: LeaseBoard, claimed: int) -> LaneShare:
    """The lease's share once the chain has paid ``claimed`` in all from its lane."""
    vouched = board.state.paid
    drawn = min(vouched, max(0, claimed - (signed_for(board) - vouched)))
    return LaneShare(set_aside=board.state.cap, vouched=vouched, drawn=drawn)


def transactions_of(board: LeaseBoard, totals: LaneTotals) -> tuple[LaneTransaction, ...]:
    """The transactions of this lease: from its own deposit on, or only the last if the lane held enough before."""
    hashes = [one.hash for one in totals.transactions]
    funding = board.state.funding_transaction
    return totals.transactions[hashes.index(funding) if funding in hashes else -1 :]


def describe_share(
    share: LaneShare, transactions: Sequence[LaneTransaction], totals: LaneTotals | None = None
) -> dict[str, Any]:
    """The ``settled`` event: this job's bill, and the lane's sums as the chain has them."""
    detail: dict[str, Any] = {
        "transaction": "0x" + transactions[-1].hash.hex() if transactions else None,
        "deposited": money(share.set_aside),
        "paid": money(share.drawn),
        "refunded": money(share.returned),
        "vouched": money(share.vouched),
        "reclaimed": share.reclaimed,
        "transactions": [
            {"purpose": one.purpose, "hash": "0x" + one.hash.hex(), "block": one.block} for one in transactions
        ],
    }
    if totals is not None:
        detail["lane"] = {
            "deposited": money(totals.deposited),
            "paid": money(totals.paid),
            "refunded": money(totals.refunded),
            "held": money(totals.held),
            "adds_up": totals.adds_up,
        }
    return detail
