"""Random leases and their receipts: in order as they are made, refused after any change of a byte or of a field."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.statement import check_statement, with_account_signature
from ledger.voucher import encode_voucher, sign_voucher
from market import money
from market.errors import FabricError, PeerFault
from market.lease import LeaseState, Stage
from market.records import UsageReport
from market.signing import Verified, verify
from market.statements import read_receipt
from market.usage import Refused, ReportChain, extend, judge_report
from node.receipt_audit import audit, read_deal
from node.receipt_file import read_file, write_file
from node.receipt_lines import LeaseReceipts, Period, lines_of, totals_of
from tests.fakes.receipts import DOMAIN, a_receipt, some_receipts
from tests.fakes.samples import NOW, PAYEE, PAYEE_KEY, SELLER, SESSION_KEY

STEPS = st.lists(st.integers(0, 13_000), min_size=1, max_size=6)
LEASES = st.builds(
    some_receipts,
    STEPS.map(tuple),
    lane=st.integers(0, 2**50),
    settled=st.booleans(),
    price=st.integers(0, 10**7),
    slots=st.integers(1, 4),
)


def holds(kept: LeaseReceipts) -> bool:
    return all(finding.holds is not False for finding in audit(kept))


@settings(deadline=None, max_examples=60)
@given(LEASES)
def test_receipts_that_the_rules_made_are_in_order_and_add_up(kept: LeaseReceipts):
    assert holds(kept)
    last = verify(kept.answers[-1].report, UsageReport).record
    sums = totals_of(lines_of(kept, Period()))
    assert (sums["amount_units"], sums["gpu_ms"]) == (last.amount, last.gpu_ms)
    assert last.amount == money.amount_due(read_deal(kept).award.price, last.gpu_ms)


@settings(deadline=None, max_examples=40)
@given(LEASES, st.integers(0, 2**42), st.integers(0, 2**42))
def test_lines_of_two_halves_of_time_sum_up_to_the_whole(kept: LeaseReceipts, cut: int, other: int):
    at = [Period(until=cut), Period(since=cut)] if cut != other else [Period()]
    parts = [totals_of(lines_of(kept, period))["amount_units"] for period in at]
    assert sum(parts) == totals_of(lines_of(kept, Period()))["amount_units"]


@cache
def a_file() -> bytes:
    return write_file([some_receipts(lane=77), some_receipts((3, 4), bid_id=b"2" * 16)], Period())


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_one_altered_byte_of_a_file_is_always_noticed(data: st.DataObject):
    raw = bytearray(a_file())
    place = data.draw(st.integers(0, len(raw) - 1))
    value = data.draw(st.integers(0, 255))
    assume(value != raw[place])
    raw[place] = value
    try:
        found = read_file(bytes(raw))
    except FabricError:
        return
    assert found.altered, "the file passes for what was written"


@settings(deadline=None, max_examples=150)
@given(LEASES, st.data())
def test_one_altered_byte_of_an_original_is_always_noticed(kept: LeaseReceipts, data: st.DataObject):
    index = data.draw(st.integers(0, len(kept.answers)))
    if index == len(kept.answers):
        wrong = replace(kept, lease=flipped(kept.lease, data))
    else:
        name = data.draw(st.sampled_from(["report", "voucher"]))
        answers, one = list(kept.answers), kept.answers[index]
        assume(getattr(one, name))
        answers[index] = replace(one, **{name: flipped(getattr(one, name), data)})
        wrong = replace(kept, answers=tuple(answers))
    assert not holds(wrong)


@settings(deadline=None, max_examples=150)
@given(LEASES, st.data())
def test_receipts_left_out_repeated_or_put_in_another_order_are_noticed(kept: LeaseReceipts, data: st.DataObject):
    order = data.draw(st.lists(st.sampled_from(range(len(kept.answers))), max_size=len(kept.answers) + 2))
    # The first ones alone are in order: they say nothing of those that follow.
    assume(order != list(range(len(order))))
    wrong = replace(kept, answers=tuple(kept.answers[index] for index in order), settled=None)
    assert not holds(wrong)


class Requester:
    """The side that judges receipts, on a lane where other leases may have been paid meanwhile."""

    def __init__(self, kept: LeaseReceipts) -> None:
        deal = read_deal(kept)
        self.lease_id = deal.lease.record.lease_id
        self.chain, self.signed, self.paid = ReportChain(), 0, 0
        self.state = LeaseState(
            price=deal.award.price,
            slots=deal.award.slots,
            max_duration_ms=deal.award.max_duration_ms,
            terms=deal.award.terms,
            stage=Stage.RUNNING,
            since=NOW,
            started_at=NOW,
        )

    def judge(self, report: Verified[UsageReport]) -> Refused | str | None:
        """Why nothing is paid; None after paying."""
        now = NOW + 10**7 * (self.chain.sequence + 1)
        if report.signer != SELLER.key:
            return "wrong author"
        refused = judge_report(
            report, self.chain, self.state, lease_id=self.lease_id, funded_at=NOW, now=now, lane_signed=self.signed
        )
        if refused is not None:
            return refused
        try:
            check_statement(DOMAIN, PAYEE, read_receipt(report))
        except PeerFault as fault:
            return fault.code
        self.signed += report.record.amount - self.paid
        self.paid = report.record.amount
        self.chain = extend(self.chain, report, now, lane=self.signed if self.paid else 0)
        return None


FIELDS = {
    "provider": st.just(PAYEE + bytes(12)),
    "lease_id": st.binary(min_size=16, max_size=16),
    "sequence": st.integers(1, 2**53),
    "previous": st.binary(min_size=32, max_size=32),
    "gpu_ms": st.integers(0, 2**53),
    "amount": st.integers(0, 2**63 - 1),
    "price": st.integers(0, 10**15),
    "lane_before": st.integers(0, 2**63 - 1),
    "lane_after": st.integers(0, 2**63 - 1),
    "fencing": st.integers(0, 2**53),
    "account_signature": st.binary(max_size=64),
    "measured_at": st.integers(0, 10**14),
    "detail": st.text(max_size=5),
}
"""Of a receipt, what a hand on the way (or a provider's own slip) may change, each to another value."""


@settings(deadline=None, max_examples=200)
@given(STEPS, st.integers(1, 10**7), st.data())
def test_one_altered_field_moves_nothing_and_the_honest_receipt_is_paid_after_it(
    steps: list[int], price: int, data: st.DataObject
):
    kept = LeaseReceipts(role="requester", job="", gpu="", lease=some_receipts((), price=price).lease)
    requester, gpu_ms = Requester(kept), 0
    for step in steps:
        gpu_ms += step
        honest = a_receipt(kept, requester.chain, gpu_ms, lane=requester.signed)
        field = data.draw(st.sampled_from(sorted(FIELDS)))
        value = data.draw(FIELDS[field])
        assume(getattr(honest.record, field) != value)
        before = (requester.signed, requester.chain)
        assert requester.judge(altered(honest.record, field, value)) is not None
        assert (requester.signed, requester.chain) == before
        assert requester.judge(honest) is None
        assert requester.judge(honest) is not None, "the same receipt twice"
    assert requester.signed == requester.paid == money.amount_due(price, requester.chain.gpu_ms)


@settings(deadline=None, max_examples=100)
@given(STEPS, st.sampled_from(["sequence", "previous", "amount", "price", "lane_after", "lease_id"]), st.data())
def test_a_provider_that_signs_its_own_wrong_numbers_is_refused_too(steps: list[int], field: str, data: st.DataObject):
    """Here the account signs what was changed: signatures are in order, and the numbers are not."""
    kept = LeaseReceipts(role="requester", job="", gpu="", lease=some_receipts((), price=1_000).lease)
    requester = Requester(kept)
    honest = a_receipt(kept, requester.chain, sum(steps), lane=0)
    value = data.draw(FIELDS[field])
    assume(getattr(honest.record, field) != value)
    cheat = replace(honest.record, **{field: value}, account_signature=b"")
    signed = SELLER.sign(with_account_signature(cheat, DOMAIN, PAYEE_KEY.sign))
    assert isinstance(requester.judge(signed), Refused)
    assert requester.signed == 0


@settings(deadline=None, max_examples=60)
@given(LEASES, st.integers(0, 2**50), st.data())
def test_a_voucher_for_less_than_its_receipt_implies_is_noticed(kept: LeaseReceipts, less: int, data: st.DataObject):
    deal, answers = read_deal(kept), list(kept.answers)
    paid = [index for index, one in enumerate(answers) if one.voucher]
    assume(paid)
    index = data.draw(st.sampled_from(paid))
    owed = verify(answers[index].report, UsageReport).record
    cumulative = max(0, owed.lane_after - 1 - less)
    row = encode_voucher(sign_voucher(SESSION_KEY, deal.domain, deal.lane, cumulative))
    answers[index] = replace(answers[index], voucher=row)
    assert not holds(replace(kept, answers=tuple(answers)))


def altered(record: UsageReport, field: str, value: Any) -> Verified[UsageReport]:
    """As the node would sign it: only the account's signature is still over what it was."""
    if field == "provider":
        stranger = replace(record, lease_id=b"?" * 16)
        return SELLER.sign(stranger)
    return SELLER.sign(replace(record, **{field: value}))


def flipped(raw: bytes, data: st.DataObject) -> bytes:
    place = data.draw(st.integers(0, len(raw) - 1))
    flip = data.draw(st.integers(1, 255))
    return raw[:place] + bytes([raw[place] ^ flip]) + raw[place + 1 :]
