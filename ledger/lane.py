"""The books of one payment lane, the same for both sides: facts in, sums out. Pure, integers only.

A lane's voucher is cumulative over all its leases::

    signed = base + what each open lease has been vouched for        (it may run ahead, see below)
    free   = balance - signed - what open leases may still draw of their cover

``base`` is what leases that are over have cost. *Cap* is the most a lease may ever cost, *cover* is the part of it
that is set aside from the deposit. A deposit is never promised twice because cover is only ever taken from ``free``.
Vouchers of two leases may overtake each other on the way, so the payee may hold a ``signed`` above what it has
counted so far, never below. So may a payer whose books were restored from an old copy while leases were open.

This file must never do I/O: ``lane_journal.py`` makes the facts durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ledger.lane_facts import (
    MAX_BOOKED,
    Amount,
    AmountVouched,
    ChainSeen,
    CloseConsented,
    DepositIntended,
    DepositSettled,
    Fact,
    LaneOpened,
    LateVoucherTaken,
    LeaseClosed,
    LeaseCovered,
    LeaseOpened,
    TransactionMined,
)
from ledger.ports import LaneKey, LaneOnChain
from market.errors import BrokenInvariant

MAX_OPEN_LEASES = 256
"""Open leases on one lane; bounds the size of its books."""


class LeaseAccount(Struct, frozen=True, kw_only=True):
    """One open lease on the lane: ``amount`` (vouched for so far) never exceeds ``cap``."""

    lease_id: bytes
    cap: Amount
    cover: Amount = 0
    amount: Amount = 0


class PendingDeposit(Struct, frozen=True, kw_only=True):
    """A deposit that was about to be sent when it was written down; whether it was is not yet known."""

    amount: Amount
    balance_before: Amount
    epoch: int


class CloseConsent(Struct, frozen=True, kw_only=True):
    """The payee's word that the lane may close at ``cumulative``; dead after ``deadline_s`` or the epoch's end."""

    epoch: int
    cumulative: Amount
    deadline_s: int


class LaneBooks(Struct, frozen=True, kw_only=True):
    """Everything one side knows of a lane. The chain's part is as last seen at ``seen_at_ms``, 0 for never."""

    lane: LaneKey
    base: Amount = 0
    signed: Amount = 0
    signature: bytes = b""
    balance: Amount = 0
    claimed: Amount = 0
    exit_at: int = 0
    epoch: int = 0
    seen_at_ms: int = 0
    leases: tuple[LeaseAccount, ...] = ()
    deposit: PendingDeposit | None = None
    consent: CloseConsent | None = None

    @property
    def counted(self) -> int:
        """What all leases of the lane have been vouched for."""
        return self.base + sum(account.amount for account in self.leases)

    @property
    def reserved(self) -> int:
        """What open leases may still draw of their cover."""
        return sum(max(account.cover - account.amount, 0) for account in self.leases)

    @property
    def free(self) -> int:
        """What of the deposit is promised to nobody. Negative when the payer owes more than the lane holds."""
        return self.balance - self.signed - self.reserved

    def lease(self, lease_id: bytes) -> LeaseAccount | None:
        return next((account for account in self.leases if account.lease_id == lease_id), None)


class LaneSummary(Struct, frozen=True, kw_only=True):
    """One lane for the wallet view; token units. ``held`` is what the escrow still holds of it."""

    lane: LaneKey
    balance: int
    claimed: int
    held: int
    signed: int
    reserved: int
    free: int
    exit_at: int
    open_leases: int
    seen_at_ms: int


def apply(books: LaneBooks, fact: Fact) -> LaneBooks:
    """The books after ``fact``.

    Raises:
        BrokenInvariant: the fact cannot follow on these books; they are unchanged.
    """
    after = _RULES[type(fact)](books, fact)
    if after.signed < after.counted:
        raise BrokenInvariant(f"{type(fact).__name__} would count {after.counted}, signed are {after.signed}")
    return after


def chain_seen(found: LaneOnChain, at_ms: int, *, paying: bool = False) -> ChainSeen:
    """What the chain says of a lane, as a fact; ``paying`` for the payer's books."""
    return ChainSeen(
        balance=min(found.balance, MAX_BOOKED),
        claimed=min(found.claimed, MAX_BOOKED),
        exit_at=found.exit_at,
        epoch=found.epoch,
        at_ms=at_ms,
        paying=paying,
    )


def same_view(books: LaneBooks, seen: ChainSeen) -> bool:
    """Whether the books already show the lane like this."""
    known = (books.balance, books.claimed, books.exit_at, books.epoch)
    return books.seen_at_ms > 0 and known == (seen.balance, seen.claimed, seen.exit_at, seen.epoch)


def summarise(books: LaneBooks) -> LaneSummary:
    """The lane for the wallet view."""
    return LaneSummary(
        lane=books.lane,
        balance=books.balance,
        claimed=books.claimed,
        held=books.balance - books.claimed,
        signed=books.signed,
        reserved=books.reserved,
        free=books.free,
        exit_at=books.exit_at,
        open_leases=len(books.leases),
        seen_at_ms=books.seen_at_ms,
    )


def _lane_opened(books: LaneBooks, fact: LaneOpened) -> LaneBooks:
    if books.lane != fact.lane:
        raise BrokenInvariant("the books of one lane opened for another")
    return books


def _chain_seen(books: LaneBooks, fact: ChainSeen) -> LaneBooks:
    # Claimed beyond signed: our books are older than the chain (a restored copy). What was lost cannot be unsigned,
    # so counting goes on from there; a lower voucher would be worth nothing. A payer cannot know which of its open
    # leases was paid with it: it signs no more until what they count has caught up, or it would pay them again.
    lost = max(fact.claimed - books.signed, 0)
    return replace(
        books,
        base=books.base + (0 if fact.paying and books.leases else lost),
        signed=books.signed + lost,
        signature=b"" if lost else books.signature,
        balance=fact.balance,
        claimed=fact.claimed,
        exit_at=fact.exit_at,
        epoch=fact.epoch,
        seen_at_ms=fact.at_ms,
    )


def _lease_opened(books: LaneBooks, fact: LeaseOpened) -> LaneBooks:
    if books.lease(fact.lease_id) or len(books.leases) >= MAX_OPEN_LEASES:
        raise BrokenInvariant("a lease opened twice, or too many on one lane")
    if fact.paying and not books.leases:
        # Of what was lost nothing can have been for this one: it is paid on top.
        books = replace(books, base=books.signed)
    return replace(books, leases=(*books.leases, LeaseAccount(lease_id=fact.lease_id, cap=fact.cap)))


def _lease_covered(books: LaneBooks, fact: LeaseCovered) -> LaneBooks:
    account = _account(books, fact.lease_id)
    if not account.cover <= fact.cover <= account.cap:
        raise BrokenInvariant(f"cover of a lease from {account.cover} to {fact.cover}, its cap is {account.cap}")
    return _with(books, replace(account, cover=fact.cover))


def _amount_vouched(books: LaneBooks, fact: AmountVouched) -> LaneBooks:
    account = _account(books, fact.lease_id)
    if not account.amount <= fact.amount <= account.cap:
        raise BrokenInvariant(f"a lease vouched from {account.amount} to {fact.amount}, its cap is {account.cap}")
    counted = _with(books, replace(account, amount=fact.amount))
    return _signed(counted, fact.cumulative, fact.signature)


def _lease_closed(books: LaneBooks, fact: LeaseClosed) -> LaneBooks:
    account = _account(books, fact.lease_id)
    others = tuple(other for other in books.leases if other is not account)
    return replace(books, base=books.base + account.amount, leases=others)


def _late_voucher_taken(books: LaneBooks, fact: LateVoucherTaken) -> LaneBooks:
    return _signed(replace(books, base=books.base + fact.more), fact.cumulative, fact.signature)


def _deposit_intended(books: LaneBooks, fact: DepositIntended) -> LaneBooks:
    if books.deposit:
        raise BrokenInvariant("a second deposit before the first one is settled")
    pending = PendingDeposit(amount=fact.amount, balance_before=fact.balance_before, epoch=books.epoch)
    return replace(books, deposit=pending)


def _deposit_settled(books: LaneBooks, fact: DepositSettled) -> LaneBooks:
    if not books.deposit:
        raise BrokenInvariant("a deposit settled that was not intended")
    return replace(books, deposit=None)


def _close_consented(books: LaneBooks, fact: CloseConsented) -> LaneBooks:
    if books.leases or fact.cumulative < books.signed:
        raise BrokenInvariant("consent to close a lane that is in use or owed more")
    return replace(
        books,
        consent=CloseConsent(epoch=fact.epoch, cumulative=fact.cumulative, deadline_s=fact.deadline_s),
    )


def _unchanged(books: LaneBooks, fact: Fact) -> LaneBooks:
    return books


def _signed(books: LaneBooks, cumulative: int, signature: bytes) -> LaneBooks:
    if cumulative < books.signed:
        raise BrokenInvariant(f"the newest voucher would fall from {books.signed} to {cumulative}")
    return replace(books, signed=cumulative, signature=signature)


def _account(books: LaneBooks, lease_id: bytes) -> LeaseAccount:
    account = books.lease(lease_id)
    if account is None:
        raise BrokenInvariant("a fact about a lease that is not open on this lane")
    return account


def _with(books: LaneBooks, account: LeaseAccount) -> LaneBooks:
    leases = tuple(account if other.lease_id == account.lease_id else other for other in books.leases)
    return replace(books, leases=leases)


_RULES: dict[type[Struct], Callable[[LaneBooks, Any], LaneBooks]] = {
    LaneOpened: _lane_opened,
    ChainSeen: _chain_seen,
    LeaseOpened: _lease_opened,
    LeaseCovered: _lease_covered,
    AmountVouched: _amount_vouched,
    LeaseClosed: _lease_closed,
    LateVoucherTaken: _late_voucher_taken,
    DepositIntended: _deposit_intended,
    DepositSettled: _deposit_settled,
    CloseConsented: _close_consented,
    TransactionMined: _unchanged,
}
