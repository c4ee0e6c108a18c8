"""What can happen to a payment lane, in past tense. These are the bodies of its journal entries. Pure.

``lane.py`` holds the one rule for each. A fact that was ever written is read back for ever: add fields with a
default, never rename or remove one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ledger.ports import LaneKey

MAX_BOOKED = 2**63 - 1
"""Larger chain values are read as this: counting less money than there is errs on the safe side."""
Amount = Annotated[int, Meta(ge=0, le=MAX_BOOKED)]


class LaneOpened(Struct, frozen=True, kw_only=True):
    """The books of this lane begin."""

    lane: LaneKey


class ChainSeen(Struct, frozen=True, kw_only=True):
    """The lane was read from the chain. A ``claimed`` above ``signed`` shows vouchers these books have lost.

    ``paying``: read by the payer, whose lost vouchers may have paid for any lease that is open.
    """

    balance: Amount
    claimed: Amount
    exit_at: int
    epoch: int
    at_ms: int
    paying: bool = False


class LeaseOpened(Struct, frozen=True, kw_only=True):
    """A lease that pays from this lane began; it may never cost more than ``cap``."""

    lease_id: bytes
    cap: Amount
    paying: bool = False


class LeaseCovered(Struct, frozen=True, kw_only=True):
    """``cover`` in all is set aside for the lease. It never falls."""

    lease_id: bytes
    cover: Amount


class AmountVouched(Struct, frozen=True, kw_only=True):
    """The lease has been vouched for ``amount`` in all; the lane's newest voucher is ``cumulative``."""

    lease_id: bytes
    amount: Amount
    cumulative: Amount
    signature: bytes


class LeaseClosed(Struct, frozen=True, kw_only=True):
    """The lease is over: its unused cover is free again, what it cost stays signed."""

    lease_id: bytes


class LateVoucherTaken(Struct, frozen=True, kw_only=True):
    """A voucher for ``more`` than counted came after its lease was over."""

    lease_id: bytes
    more: Amount
    cumulative: Amount
    signature: bytes


class DepositIntended(Struct, frozen=True, kw_only=True):
    """Written before the deposit is sent, so that a crash in between does not deposit twice."""

    amount: Amount
    balance_before: Amount


class DepositSettled(Struct, frozen=True, kw_only=True):
    """The intended deposit is in the lane, or will never be."""

    amount: Amount
    landed: bool


class CloseConsented(Struct, frozen=True, kw_only=True):
    """The payee signed that the lane may close at ``cumulative`` until ``deadline_s`` (UTC seconds)."""

    epoch: int
    cumulative: Amount
    deadline_s: int


class TransactionMined(Struct, frozen=True, kw_only=True):
    """Kept for the wallet's history; changes no sum."""

    purpose: str
    transaction: bytes
    block: int
    succeeded: bool


Fact = Struct
FACTS: dict[str, type[Struct]] = {
    kind.__name__: kind
    for kind in (
        LaneOpened,
        ChainSeen,
        LeaseOpened,
        LeaseCovered,
        AmountVouched,
        LeaseClosed,
        LateVoucherTaken,
        DepositIntended,
        DepositSettled,
        CloseConsented,
        TransactionMined,
    )
}
