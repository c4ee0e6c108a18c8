"""What may be signed, accepted or promised on a lane: the decisions of both sides. Pure.

Each function looks at the books and answers with facts to record, an amount, or a refusal. Invariants, as the tests
name them: the payer never signs above what its leases' caps add up to, nor above the deposit (L1); the payee never
counts more than was signed (L2); cover of all open leases never exceeds the deposit (L3).
"""

from __future__ import annotations

from enum import StrEnum

from ledger.lane import MAX_OPEN_LEASES, LaneBooks, LeaseAccount
from ledger.lane_facts import AmountVouched, Fact, LateVoucherTaken, LeaseCovered
from ledger.voucher import Voucher
from market.errors import PeerFault

_PER_MILLE_FOR_GAS = 5


class RedeemReason(StrEnum):
    """Why now is the time to turn vouchers into money."""

    FORCED = "forced"
    EXIT = "exit"
    EXPOSURE = "exposure"
    VALUE = "value"
    LAST = "last"


def cover_target(account: LeaseAccount, cover: int | None) -> int:
    """What of the lease's cap is to be covered: ``cover``, by default all of it; never less than is covered already."""
    return account.cap if cover is None else max(account.cover, min(cover, account.cap))


def shortfall(books: LaneBooks, account: LeaseAccount, cover: int | None = None) -> int:
    """What must be deposited so that ``cover`` of the lease (by default its whole cap) is covered and nobody else's
    cover is touched."""
    others = books.reserved - max(account.cover - account.amount, 0)
    return max(0, books.signed + others + cover_target(account, cover) - account.amount - books.balance)


def cover_possible(books: LaneBooks, account: LeaseAccount) -> int:
    """The most of its cap that the lease can have covered from the deposit as it stands; at least its present cover."""
    return max(account.cover, min(account.cap, account.cover + max(books.free, 0)))


def has_room(books: LaneBooks, account: LeaseAccount) -> bool:
    """Whether the lease is open on the lane or may still be opened there."""
    return books.lease(account.lease_id) is not None or len(books.leases) < MAX_OPEN_LEASES


def view_good_until_ms(books: LaneBooks, exit_delay_s: int) -> int:
    """Payee: until when the lane's balance cannot have fallen below what the books show, UTC milliseconds.

    Only an exit takes money out without our consent, and it takes ``exit_delay_s`` from its start. Half of that is
    left as a margin for the chain's clock and ours.
    """
    if books.exit_at:
        return books.exit_at * 1000 - exit_delay_s * 500
    return books.seen_at_ms + exit_delay_s * 500 if books.seen_at_ms else 0


def cumulative_for(books: LaneBooks, account: LeaseAccount, amount: int) -> int:
    """Payer: the lane cumulative that vouches for ``amount`` of this lease, which is above what it was vouched for.

    Raises:
        PeerFault: ``over_cap`` (more than the lease may cost) or ``over_balance`` (not covered by the deposit).
    """
    if amount > account.cap:
        raise PeerFault(f"asks {amount} of a lease that costs at most {account.cap}", code="over_cap")
    cumulative = max(books.signed, books.counted + amount - account.amount)
    if amount > account.cover or cumulative > books.balance:
        raise PeerFault(f"asks {amount}, of which {account.cover} is covered", code="over_balance")
    return cumulative


def facts_of_voucher(books: LaneBooks, account: LeaseAccount, amount: int, voucher: Voucher) -> list[Fact]:
    """Payee: what a voucher sent for ``amount`` of an open lease leads to; nothing for a replay.

    The voucher's signature is checked elsewhere. A voucher may have been overtaken by the newer one of another
    lease on the lane; then the newer one must cover both.

    Raises:
        PeerFault: ``wrong_lane``, ``over_cap``, ``too_small``, ``over_balance`` or ``over_cover``.
    """
    newest = _newest(books, account, amount, voucher)
    if amount <= account.amount and newest == books.signed:
        return []
    vouched = max(amount, account.amount)
    others = books.reserved - max(account.cover - account.amount, 0)
    facts: list[Fact] = []
    if vouched > account.cover:
        if newest + others > books.balance:
            raise PeerFault(f"{vouched} is more than the deposit covers of this lease", code="over_cover")
        facts.append(LeaseCovered(lease_id=account.lease_id, cover=vouched))
    signature = voucher.signature if newest == voucher.cumulative else books.signature
    facts.append(AmountVouched(lease_id=account.lease_id, amount=vouched, cumulative=newest, signature=signature))
    return facts


def facts_of_late_voucher(books: LaneBooks, ended: LeaseAccount, amount: int, voucher: Voucher) -> list[Fact]:
    """Payee: as :func:`facts_of_voucher` for a lease that is over. Money that comes late is still taken."""
    newest = _newest(books, ended, amount, voucher)
    more = max(amount - ended.amount, 0)
    if not more and newest == books.signed:
        return []
    signature = voucher.signature if newest == voucher.cumulative else books.signature
    return [LateVoucherTaken(lease_id=ended.lease_id, more=more, cumulative=newest, signature=signature)]


def redeem_due(
    *,
    unredeemed: int,
    exit_running: bool,
    exposure_cap: int,
    gas_cost: int | None,
    forced: bool = False,
    last: bool = False,
) -> RedeemReason | None:
    """Whether a lane should be redeemed now.

    Args:
        unredeemed: units that a redemption would bring in.
        exit_running: the payer is leaving; what is not redeemed in time is lost.
        exposure_cap: the most we are willing to hold in signatures only.
        gas_cost: this lane's share of the gas, in the same units; None where nobody told us what gas is worth.
        forced: because the user asks, whatever it costs.
        last: waiting makes it no better: no lease pays from the lane any more, or we are about to be away.
    """
    if unredeemed <= 0:
        return None
    if forced:
        return RedeemReason.FORCED
    if gas_cost is not None and unredeemed <= gas_cost:
        return None
    if exit_running:
        return RedeemReason.EXIT
    if unredeemed > exposure_cap:
        return RedeemReason.EXPOSURE
    if last:
        return RedeemReason.LAST
    worth_it = gas_cost is not None and unredeemed * _PER_MILLE_FOR_GAS >= gas_cost * 1000
    return RedeemReason.VALUE if worth_it else None


def _newest(books: LaneBooks, account: LeaseAccount, amount: int, voucher: Voucher) -> int:
    """The lane's newest cumulative once ``voucher`` is in, which must cover ``amount`` of the lease."""
    if voucher.lane != books.lane:
        raise PeerFault("the voucher is for another lane", code="wrong_lane")
    if amount > account.cap:
        raise PeerFault(f"pays {amount} for a lease that costs at most {account.cap}", code="over_cap")
    newest = max(books.signed, voucher.cumulative)
    implied = books.counted + max(amount - account.amount, 0)
    if newest < implied:
        raise PeerFault(f"the voucher covers {newest}, owed are {implied}", code="too_small")
    if voucher.cumulative > max(books.signed, books.balance):
        raise PeerFault(f"the voucher is for {voucher.cumulative}, the lane holds {books.balance}", code="over_balance")
    return newest
