"""Recomputes everything that the receipts of a lease say, from their signed originals alone. Pure.

Who signed what, the chain of hashes, every amount, every sum of the lane and every voucher. What only the chain can say
is compared in :func:`check_against_chain` with what a node read there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from ledger.ports import LaneKey
from ledger.statement import check_grants, check_statement
from ledger.voucher import Domain, check_voucher, decode_voucher
from market.errors import PeerFault
from market.money import amount_due, format_tokens
from market.records import Award, Lease, ReceiptRefusal, UsageReport
from market.signing import Verified, verify
from market.statements import read_receipt
from market.usage import FIRST_PREVIOUS
from node.lease_board import KEPT_EVERY, is_kept, lease_id_of
from node.receipt_lines import Answered, LeaseReceipts


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was checked. ``holds`` is None where it could not be: ``detail`` says why, or what is wrong."""

    check: str
    holds: bool | None
    detail: str


class Deal(Struct, frozen=True, kw_only=True):
    """What both sides agreed on, signatures checked."""

    lease: Verified[Lease]
    award: Award
    domain: Domain
    lane: LaneKey

    @property
    def cap(self) -> int:
        """The most the lease may cost."""
        return amount_due(self.award.price, self.award.max_duration_ms * self.award.slots)


def read_deal(kept: LeaseReceipts) -> Deal:
    """The lease and the award in it.

    Raises:
        PeerFault: a signature or an id is wrong.
    """
    lease = verify(kept.lease, Lease)
    award = verify(lease.record.award, Award).record
    expected = lease_id_of(award.requester, award.provider, award.bid_id)
    if lease.signer != award.provider or lease.record.lease_id != expected:
        raise PeerFault("the lease is not the awarded provider's, or under another id", code="wrong_lease")
    domain = Domain(chain_id=award.chain_id, escrow=award.escrow)
    lane = LaneKey(payer=award.payer, payee=award.payee, signer=award.signer)
    return Deal(lease=lease, award=award, domain=domain, lane=lane)


def audit(kept: LeaseReceipts) -> list[Finding]:
    """All checks that need no chain, in an order in which each builds on those before."""
    try:
        deal = read_deal(kept)
    except PeerFault as fault:
        return [Finding(check="lease", holds=False, detail=fault.message)]
    findings = [Finding(check="lease", holds=True, detail="signed by its provider, over its requester's signed award")]
    findings.append(_checked("grants", lambda: _grants(deal)))
    try:
        reports = [verify(one.report, UsageReport) for one in kept.paid]
        if any(report.signer != deal.award.provider for report in reports):
            raise PeerFault("a receipt signed by another node than the lease's provider", code="wrong_author")
    except PeerFault as fault:
        return [*findings, Finding(check="signatures", holds=False, detail=fault.message)]
    said = f"{len(reports)} receipts signed by the provider's node"
    findings.append(Finding(check="signatures", holds=True, detail=said))
    findings.append(_checked("chain of receipts", lambda: _links(deal, reports)))
    findings.append(_checked("account", lambda: _accounts(deal, reports)))
    findings.append(_checked("amounts", lambda: _amounts(deal, reports)))
    findings.append(_checked("vouchers", lambda: _vouchers(deal, reports, kept.paid)))
    findings.append(_checked("lane", lambda: _lanes(deal, reports, kept.paid)))
    findings.append(_checked("refusals", lambda: _refusals(deal, kept)))
    findings.append(_checked("bill", lambda: _bill(kept, reports)))
    return findings


class ChainView(Struct, frozen=True, kw_only=True):
    """What a node read on the chain about a lane: its sums in units, and the blocks in which the transactions that were
    asked about succeeded. ``deposited`` and ``refunded`` are None on a node that does not pay from the lane."""

    chain_id: int
    escrow: str
    paid: int
    held: int
    deposited: int | None = None
    refunded: int | None = None
    transactions: dict[str, int] = {}


def check_against_chain(kept: LeaseReceipts, seen: ChainView) -> list[Finding]:
    """What the chain says of a lease whose receipts are in order in themselves."""
    deal = read_deal(kept)
    return [
        _checked("chain: escrow", lambda: _same_escrow(deal, seen)),
        _checked("chain: paid", lambda: _paid_there(kept, seen)),
        _checked("chain: lane adds up", lambda: _adds_up(seen), skipped="only the node that pays knows its deposits"),
        _checked("chain: transactions", lambda: _mined(kept, seen)),
    ]


def transactions_of(kept: LeaseReceipts) -> dict[str, int]:
    """The transactions that the receipts name, with the block they are said to be in."""
    named = (kept.settled or {}).get("transactions") or []
    return {str(one["hash"]): int(one["block"]) for one in named}


def _checked(
    check: str, look: Callable[[], str | None], *, skipped: str = "not there: the lease is of an older node"
) -> Finding:
    try:
        said = look()
    except PeerFault as fault:
        return Finding(check=check, holds=False, detail=fault.message)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Finding(check=check, holds=False, detail="what was kept of it cannot be read")
    return Finding(check=check, holds=None if said is None else True, detail=said or skipped)


def _wrong(what: str) -> PeerFault:
    return PeerFault(what, code="audit")


def _grants(deal: Deal) -> str | None:
    lease = deal.lease.record
    if not lease.grants:
        return None
    check_grants(deal.domain, deal.lane.payee, deal.lease)
    slots = "1 slot" if len(lease.slots) == 1 else f"{len(lease.slots)} slots"
    return f"{slots} granted by the provider's account under number {lease.fencing}"


def _links(deal: Deal, reports: Sequence[Verified[UsageReport]]) -> str:
    head, number = FIRST_PREVIOUS, 0
    for report in reports:
        record = report.record
        if record.lease_id != deal.lease.record.lease_id:
            raise _wrong(f"receipt {number + 1} is of another lease")
        if deal.lease.record.grants and record.fencing != deal.lease.record.fencing:
            raise _wrong(f"receipt {number + 1} is of another lease under this id, of number {record.fencing}")
        thinned = _may_follow(number, record.sequence)
        if record.sequence != number + 1 and not thinned:
            raise _wrong(f"number {record.sequence} where {number + 1} belongs")
        number = record.sequence
        if record.previous != head and not thinned:
            raise _wrong(f"receipt {number} does not follow on the one before it")
        if record.final and report is not reports[-1]:
            raise _wrong(f"receipt {number} is final, and others follow")
        head = report.id
    if number > len(reports):
        return f"numbers 1 to {number}, {len(reports)} of them kept; each of the first names the hash of the one before"
    return f"numbers 1 to {number}, each naming the hash of the one before"


def _may_follow(before: int, sequence: int) -> bool:
    """Whether all receipts between these two made way: a long lease keeps only some of them."""
    return before + 1 < sequence and not any(is_kept(between) for between in range(before + 1, sequence)[:KEPT_EVERY])


def _accounts(deal: Deal, reports: Sequence[Verified[UsageReport]]) -> str | None:
    if not deal.lease.record.grants:
        return None
    for report in reports:
        try:
            check_statement(deal.domain, deal.lane.payee, read_receipt(report))
        except PeerFault as fault:
            raise _wrong(f"receipt {report.record.sequence}: {fault.message}") from None
    return f"each signed by 0x{deal.lane.payee.hex()} for this escrow"


def _amounts(deal: Deal, reports: Sequence[Verified[UsageReport]]) -> str:
    before = 0
    for report in reports:
        record = report.record
        due = amount_due(deal.award.price, record.gpu_ms)
        if record.amount != due:
            raise _wrong(f"receipt {record.sequence} asks {record.amount} units, due are {due}")
        if record.gpu_ms < before:
            raise _wrong(f"receipt {record.sequence} counts less time than the one before")
        if record.amount > deal.cap:
            raise _wrong(f"receipt {record.sequence} asks {record.amount} units, the most agreed on is {deal.cap}")
        if deal.lease.record.grants and record.price != deal.award.price:
            raise _wrong(f"receipt {record.sequence} names the price {record.price}, agreed is {deal.award.price}")
        before = record.gpu_ms
    return f"{before} ms at the agreed price are {format_tokens(_owed(reports))} tokens"


def _vouchers(deal: Deal, reports: Sequence[Verified[UsageReport]], paid: Sequence[Answered]) -> str:
    newest = 0
    for report, answered in zip(reports, paid, strict=True):
        number, owed = report.record.sequence, report.record.amount
        if not answered.voucher:
            if owed:
                raise _wrong(f"receipt {number} asks {owed} units and has no voucher")
            continue
        voucher = decode_voucher(answered.voucher)
        check_voucher(deal.domain, voucher)
        if voucher.lane != deal.lane:
            raise _wrong(f"the voucher for receipt {number} is of another lane")
        if voucher.cumulative < max(newest, owed):
            raise _wrong(f"the voucher for receipt {number} is for {voucher.cumulative} units: too few")
        newest = voucher.cumulative
    return f"signed by the payer's session key, the newest for {format_tokens(newest)} tokens in all"


def _lanes(deal: Deal, reports: Sequence[Verified[UsageReport]], paid: Sequence[Answered]) -> str | None:
    if not deal.lease.record.grants:
        return None
    owed = newest = number = 0
    for report, answered in zip(reports, paid, strict=True):
        record = report.record
        added, next_one, number = record.lane_after - record.lane_before, number + 1, record.sequence
        if added > record.amount - owed or (number == next_one and added != record.amount - owed) or added < 0:
            raise _wrong(f"receipt {record.sequence}: the lane does not rise by what the receipt adds")
        if record.lane_before < newest:
            raise _wrong(f"receipt {record.sequence} forgets a voucher for {newest} units")
        if answered.voucher:
            newest = decode_voucher(answered.voucher).cumulative
            if newest < record.lane_after:
                raise _wrong(f"the voucher for receipt {record.sequence} is for less than the receipt implies")
        owed = record.amount
    return "each receipt starts where the lane stood, and its voucher reaches what it implies"


def _refusals(deal: Deal, kept: LeaseReceipts) -> str:
    refused = [one for one in kept.answers if one.refusal]
    for one in refused:
        refusal, report = verify(one.refusal, ReceiptRefusal), verify(one.report, UsageReport)
        about = (refusal.record.lease_id, refusal.record.report, refusal.record.sequence)
        if refusal.signer != deal.award.requester or report.signer != deal.award.provider:
            raise _wrong("a refusal by another node than the lease's requester, or of another's report")
        if about != (deal.lease.record.lease_id, report.id, report.record.sequence):
            raise _wrong(f"a refusal of another report than number {report.record.sequence}")
    return f"{len(refused)} signed by the requester" if refused else "none"


def _bill(kept: LeaseReceipts, reports: Sequence[Verified[UsageReport]]) -> str:
    settled, owed = kept.settled, _owed(reports)
    if settled is None:
        return f"not settled yet; vouched for are {format_tokens(owed)} tokens"
    aside, paid, back, vouched = (settled[name]["units"] for name in ("deposited", "paid", "refunded", "vouched"))
    if aside != paid + back:
        raise _wrong(f"set aside {aside} units are not paid {paid} and returned {back}")
    if vouched != owed or paid > owed:
        raise _wrong(f"settled for {vouched} units, paid {paid}, but the receipts come to {owed}")
    return f"set aside {format_tokens(aside)} = paid {format_tokens(paid)} + returned {format_tokens(back)} tokens"


def _same_escrow(deal: Deal, seen: ChainView) -> str:
    if (seen.chain_id, seen.escrow) != (deal.domain.chain_id, "0x" + deal.domain.escrow.hex()):
        raise _wrong(f"these receipts are for chain {deal.domain.chain_id} and escrow 0x{deal.domain.escrow.hex()}")
    return f"chain {seen.chain_id}, escrow {seen.escrow}"


def _paid_there(kept: LeaseReceipts, seen: ChainView) -> str:
    promised = _promised(kept)
    if seen.paid >= promised:
        return f"the lane has paid {format_tokens(seen.paid)} tokens in all, the last voucher is for no more"
    left = format_tokens(promised - seen.paid)
    if kept.settled is None:
        return f"{left} tokens of the vouchers are not drawn yet"
    if kept.settled["reclaimed"] is not True:
        raise _wrong(f"settled, but {left} tokens of the last voucher were never paid")
    return f"{left} tokens were never drawn: the payer's exit took them home"


def _adds_up(seen: ChainView) -> str | None:
    if seen.deposited is None or seen.refunded is None:
        return None
    sums = [format_tokens(units) for units in (seen.deposited, seen.paid, seen.refunded, seen.held)]
    said = "deposited {} = paid {} + refunded {} + held {}".format(*sums)
    if seen.deposited != seen.paid + seen.refunded + seen.held:
        raise _wrong(said.replace("=", "is not"))
    return said


def _mined(kept: LeaseReceipts, seen: ChainView) -> str:
    named = transactions_of(kept)
    for transaction, block in named.items():
        found = seen.transactions.get(transaction)
        if found != block:
            there = "not mined, or failed" if found is None else f"in block {found}"
            raise _wrong(f"{transaction} is {there}, not in block {block}")
    return f"{len(named)} mined where the receipts say" if named else "none named"


def _owed(reports: Sequence[Verified[UsageReport]]) -> int:
    return reports[-1].record.amount if reports else 0


def _promised(kept: LeaseReceipts) -> int:
    return max((decode_voucher(one.voucher).cumulative for one in kept.paid if one.voucher), default=0)
