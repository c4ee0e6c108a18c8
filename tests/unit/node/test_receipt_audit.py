"""Receipts that are in order pass every check; of all others the check that fails says which, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.ports import LaneKey
from ledger.statement import with_account_signature
from ledger.voucher import Domain, SessionKey, encode_voucher, sign_voucher
from market.records import UsageReport
from market.signing import verify
from node import lease_board, receipt_audit
from node.receipt_audit import ChainView, audit, check_against_chain, read_deal, transactions_of
from node.receipt_lines import LeaseReceipts
from tests.fakes.receipts import DOMAIN, a_signed_lease, refused, some_receipts
from tests.fakes.samples import BUYER, CHAIN_ID, ESCROW, PAYEE, PAYEE_KEY, PAYER, SELLER, SESSION_KEY, a_signer

KEPT = some_receipts()
MALLORY = a_signer("mallory")
NAMES = [
    "lease", "grants", "signatures", "chain of receipts", "account", "amounts", "vouchers", "lane", "refusals", "bill",
]  # fmt: skip


def failed(kept: LeaseReceipts) -> dict[str, str]:
    """The checks that do not hold, and what they say."""
    return {finding.check: finding.detail for finding in audit(kept) if finding.holds is False}


def spoiled(number: int, *, resign: bool = True, **changes: Any) -> LeaseReceipts:
    """Receipt ``number`` (from 1) with other fields, signed anew by the provider as a cheat would."""
    answers = list(KEPT.answers)
    record = replace(verify(answers[number - 1].report, UsageReport).record, **changes)
    if resign:
        record = with_account_signature(record, DOMAIN, PAYEE_KEY.sign)
    answers[number - 1] = replace(answers[number - 1], report=SELLER.sign(record).raw)
    return replace(KEPT, answers=tuple(answers))


def answered(number: int, voucher: bytes) -> LeaseReceipts:
    answers = list(KEPT.answers)
    answers[number - 1] = replace(answers[number - 1], voucher=voucher)
    return replace(KEPT, answers=tuple(answers))


def a_voucher(
    cumulative: int, *, domain: Domain = DOMAIN, payer: bytes = PAYER, key: SessionKey = SESSION_KEY
) -> bytes:
    lane = LaneKey(payer=payer, payee=PAYEE, signer=key.address)
    return encode_voucher(sign_voucher(key, domain, lane, cumulative))


def test_receipts_that_are_in_order_pass_every_check():
    findings = audit(KEPT)
    assert [finding.check for finding in findings] == NAMES
    assert all(finding.holds for finding in findings), findings


@pytest.mark.parametrize("lane", [1, 10**12])
def test_a_lane_that_served_other_leases_before_is_in_order_too(lane: int):
    assert failed(some_receipts(lane=lane)) == {}


def test_a_lease_without_receipts_is_in_order():
    assert failed(some_receipts((), settled=False)) == {}


def test_a_lease_of_an_older_node_is_checked_as_far_as_it_goes():
    old = some_receipts(granted=False)
    bare = [
        replace(one, report=SELLER.sign(replace(verify(one.report, UsageReport).record, account_signature=b"")).raw)
        for one in old.answers[:1]
    ]
    results = {finding.check: finding.holds for finding in audit(replace(old, answers=tuple(bare), settled=None))}
    assert (results["grants"], results["account"], results["lane"]) == (None, None, None)
    assert results["amounts"] is True


CHEATS: dict[str, tuple[Callable[[], LeaseReceipts], str, str]] = {
    "an amount too high": (lambda: spoiled(4, amount=10**6), "amounts", "due are"),
    "a number twice": (lambda: spoiled(4, sequence=3), "chain of receipts", "number 3 where 4 belongs"),
    "an older one after a newer": (
        lambda: replace(KEPT, answers=(*KEPT.answers[:3], KEPT.answers[0])), "chain of receipts", "number 1 where 4"),
    "one left out": (
        lambda: replace(KEPT, answers=(KEPT.answers[0], *KEPT.answers[2:])), "chain of receipts", "where 2 belongs"),
    "another one before": (lambda: spoiled(4, previous=b"x" * 32), "chain of receipts", "does not follow"),
    "another job's": (lambda: spoiled(4, lease_id=b"x" * 16), "chain of receipts", "another lease"),
    "another lease's under this id": (lambda: spoiled(4, fencing=6), "chain of receipts", "under this id, of number 6"),
    "a final one in the middle": (lambda: spoiled(2, final=True), "chain of receipts", "is final, and others follow"),
    "another price": (lambda: spoiled(4, price=7), "amounts", "names the price 7"),
    "a clock that goes back": (lambda: spoiled(4, gpu_ms=1, amount=1), "amounts", "less time"),
    "above the cap": (
        lambda: spoiled(4, gpu_ms=10**9, amount=100_000_000), "amounts", "the most agreed on"),
    "a lane that jumps": (lambda: spoiled(4, lane_after=10**9), "lane", "does not rise"),
    "a lane that forgets": (lambda: spoiled(4, lane_before=0, lane_after=124), "lane", "forgets a voucher"),
    "not signed by the account": (
        lambda: spoiled(4, resign=False, account_signature=b""), "account", "receipt 4: a statement that"),
    "moved after the account signed": (
        lambda: spoiled(4, resign=False, memory_peak_mib=9), "account", "receipt 4: signed by 0x"),
    "a voucher too small": (lambda: answered(4, a_voucher(1)), "vouchers", "too few"),
    "a first voucher too small": (lambda: answered(2, a_voucher(499)), "vouchers", "receipt 2 is for 499"),
    "no voucher": (lambda: answered(4, b""), "vouchers", "has no voucher"),
    "half a voucher": (lambda: answered(4, KEPT.answers[3].voucher[:-1]), "vouchers", "wrong length"),
    "another chain's voucher": (
        lambda: answered(4, a_voucher(10**6, domain=Domain(1, ESCROW))), "vouchers", "another key"),
    "another lane's voucher": (
        lambda: answered(4, a_voucher(10**6, payer=b"q" * 20)), "vouchers", "another lane"),
    "another key's voucher": (
        lambda: answered(4, a_voucher(10**6, key=SessionKey(b"z" * 32))), "vouchers", "another lane"),
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS)
def test_what_is_wrong_is_named(cheat: str):
    spoil, check, why = CHEATS[cheat]
    wrong = failed(spoil())
    assert check in wrong, wrong
    assert why in wrong[check]


def test_receipts_of_another_chain_are_not_this_account_s():
    elsewhere = Domain(CHAIN_ID + 1, ESCROW)
    answers = list(KEPT.answers)
    record = verify(answers[-1].report, UsageReport).record
    forged = with_account_signature(replace(record, account_signature=b""), elsewhere, PAYEE_KEY.sign)
    answers[-1] = replace(answers[-1], report=SELLER.sign(forged).raw)
    assert "account" in failed(replace(KEPT, answers=tuple(answers)))


def test_a_receipt_by_another_node_ends_the_checks():
    record = replace(verify(KEPT.answers[0].report, UsageReport).record, provider=MALLORY.key)
    answers = (replace(KEPT.answers[0], report=MALLORY.sign(record).raw), *KEPT.answers[1:])
    assert list(failed(replace(KEPT, answers=answers))) == ["signatures"]


def test_a_lease_that_is_none_ends_the_checks():
    assert list(failed(replace(KEPT, lease=KEPT.lease[:-1]))) == ["lease"]
    assert list(failed(replace(KEPT, lease=b""))) == ["lease"]


def test_refusals_are_checked_too():
    report = verify(spoiled(4, cpu_ms=1).answers[3].report, UsageReport)
    good = refused(KEPT, report)
    assert failed(replace(KEPT, answers=(*KEPT.answers, good))) == {}
    other = replace(good, report=KEPT.answers[0].report)
    assert list(failed(replace(KEPT, answers=(*KEPT.answers, other)))) == ["refusals"]
    forged = replace(good, refusal=good.refusal[:-1])
    assert list(failed(replace(KEPT, answers=(*KEPT.answers, forged)))) == ["refusals"]


@pytest.mark.parametrize(("name", "units"), [("paid", 1), ("refunded", 1), ("deposited", 1), ("vouched", 1)])
def test_a_bill_that_does_not_add_up_is_named(name: str, units: int):
    assert KEPT.settled is not None
    settled = {**KEPT.settled, name: {"units": KEPT.settled[name]["units"] + units}}
    assert list(failed(replace(KEPT, settled=settled))) == ["bill"]
    assert list(failed(replace(KEPT, settled={name: None}))) == ["bill"]


def seen(**changes: Any) -> ChainView:
    plain = ChainView(
        chain_id=CHAIN_ID,
        escrow="0x" + ESCROW.hex(),
        paid=1_124,
        held=0,
        deposited=60_000,
        refunded=58_876,
        transactions={"0x" + "72" * 32: 9},
    )
    return replace(plain, **changes)


def failed_on_chain(kept: LeaseReceipts, view: ChainView) -> dict[str, str]:
    return {one.check: one.detail for one in check_against_chain(kept, view) if one.holds is False}


def test_the_chain_agrees_with_what_it_paid():
    assert failed_on_chain(KEPT, seen()) == {}
    assert transactions_of(KEPT) == {"0x" + "72" * 32: 9}


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"chain_id": 1}, "chain: escrow"),
        ({"escrow": "0x" + "00" * 20}, "chain: escrow"),
        ({"paid": 1_123, "held": 1}, "chain: paid"),
        ({"held": 1}, "chain: lane adds up"),
        ({"transactions": {}}, "chain: transactions"),
        ({"transactions": {"0x" + "72" * 32: 8}}, "chain: transactions"),
    ],
)
def test_where_the_chain_says_otherwise_the_check_says_so(changes: dict[str, Any], check: str):
    assert list(failed_on_chain(KEPT, seen(**changes))) == [check]


def test_what_is_not_settled_or_went_home_is_no_contradiction():
    assert failed_on_chain(replace(KEPT, settled=None), seen(paid=0, held=1_124)) == {}
    assert KEPT.settled is not None
    reclaimed = replace(KEPT, settled={**KEPT.settled, "reclaimed": True})
    assert failed_on_chain(reclaimed, seen(paid=1_000, refunded=59_000)) == {}


def test_a_node_that_does_not_pay_skips_the_lane_s_past():
    (sums,) = [one for one in check_against_chain(KEPT, seen(deposited=None, refunded=None)) if "adds up" in one.check]
    assert sums.holds is None


def test_the_deal_names_the_most_that_the_lease_may_cost():
    deal = read_deal(replace(KEPT, lease=a_signed_lease(slots=2)))
    assert (deal.cap, deal.domain, deal.lane.payee) == (120_000, DOMAIN, PAYEE)
    assert deal.award.requester == BUYER.key


def thinned(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> dict[str, str]:
    """What is wrong when of ten receipts only these are there, and the rule keeps 1 to 3, each fourth and the last."""
    monkeypatch.setattr(lease_board, "KEPT_WHOLE", 3)
    monkeypatch.setattr(lease_board, "KEPT_EVERY", 4)
    monkeypatch.setattr(receipt_audit, "KEPT_EVERY", 4)
    whole = some_receipts((5,) * 10)
    return failed(replace(whole, answers=tuple(whole.answers[number - 1] for number in numbers)))


def test_receipts_that_made_way_are_not_missed(monkeypatch: pytest.MonkeyPatch):
    assert thinned(monkeypatch, 1, 2, 3, 4, 8, 10) == {}
    assert thinned(monkeypatch, *range(1, 11)) == {}


@pytest.mark.parametrize(
    "numbers", [(1, 3, 4, 8, 10), (1, 2, 3, 8, 10), (1, 2, 3, 4, 10), (4, 8, 10), (1, 2, 3, 4, 8, 6, 10)]
)
def test_those_that_are_kept_for_good_are(monkeypatch: pytest.MonkeyPatch, numbers: tuple[int, ...]):
    assert "chain of receipts" in thinned(monkeypatch, *numbers)
