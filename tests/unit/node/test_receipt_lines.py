"""What each receipt adds to a bill: lines that sum up to what the lease costs, from the journal as from plain data."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec.structs import replace

from ledger.ports import JournalEntry
from market.duties import Role
from market.errors import InvalidRequest
from market.records import UsageReport
from market.signing import verify
from market.usage import receipt_id
from node.lease_board import OPENED, REPORT_PAID, REPORT_REFUSED, Opened, PaidReport, RefusedReport
from node.receipt_export import COLUMNS
from node.receipt_lines import Period, from_json, kept_receipts, lines_of, refusals_of, to_json, totals_of
from node.receipt_shapes import ReceiptLine
from tests.fakes.receipts import refused, some_receipts
from tests.fakes.samples import NOW

KEPT = some_receipts()


def test_lines_add_up_to_what_the_last_receipt_says():
    lines = lines_of(KEPT, Period())
    last = verify(KEPT.answers[-1].report, UsageReport)
    assert [line["gpu_ms"] for line in lines] == [0, 5_000, 5_000, 1_234]
    assert sum(line["amount_units"] for line in lines) == last.record.amount == lines[-1]["lease_amount_units"]
    assert totals_of(lines) == {"receipts": 4, "gpu_ms": 11_234, "amount_units": 1_124, "amount": "0.001124"}
    assert lines[-1]["receipt"] == receipt_id(last.id, KEPT.answers[-1].voucher).hex()
    assert (lines[0]["voucher_units"], lines[-1]["voucher_units"]) == (None, 1_124)
    assert lines[-1]["transaction"] == "0x" + "72" * 32


def test_a_line_has_the_fields_that_are_documented_and_exported():
    (line, *_) = lines_of(KEPT, Period())
    assert set(line) == set(get_type_hints(ReceiptLine)) == set(COLUMNS)


@pytest.mark.parametrize("cut", [0, 1, 5_006, 5_007, 5_008, 11_240, 11_241, 11_242, 10**6])
def test_periods_that_follow_each_other_share_no_line_and_lose_none(cut: int):
    whole = lines_of(KEPT, Period())
    before, after = lines_of(KEPT, Period(until=NOW + cut)), lines_of(KEPT, Period(since=NOW + cut))
    assert before + after == whole


def test_what_a_lease_s_stream_holds_is_what_is_kept():
    report = verify(KEPT.answers[1].report, UsageReport)
    no = refused(KEPT, report)
    bodies = [
        (OPENED, Opened(role=Role.REQUESTER, lease=KEPT.lease, spec=b"", job_id="j")),
        ("LaneFunded", {}),
        (REPORT_PAID, PaidReport(report=KEPT.answers[0].report, row=b"")),
        (REPORT_REFUSED, RefusedReport(report=no.report, refusal=no.refusal)),
        (REPORT_PAID, PaidReport(report=KEPT.answers[1].report, row=KEPT.answers[1].voucher)),
    ]
    entries = [
        JournalEntry(position=at, stream="lease/x", kind=kind, at_ms=NOW + at, body=msgspec.msgpack.encode(body))
        for at, (kind, body) in enumerate(bodies)
    ]
    entries.append(JournalEntry(position=9, stream="lease/x", kind="settled", at_ms=NOW, body=b'{"paid":{"units":1}}'))
    kept = kept_receipts(entries, gpu="H100")
    assert [one.report for one in kept.paid] == [KEPT.answers[0].report, KEPT.answers[1].report]
    assert [bool(one.refusal) for one in kept.answers] == [False, True, False]
    assert (kept.job, kept.gpu, kept.role, kept.settled) == ("j", "H100", "requester", {"paid": {"units": 1}})
    (shown,) = refusals_of(kept)
    assert (shown["sequence"], shown["reason"]) == (2, "broken_chain")


def test_what_is_kept_travels_as_plain_data():
    report = verify(KEPT.answers[1].report, UsageReport)
    kept = replace(KEPT, answers=(*KEPT.answers, refused(KEPT, report)))
    assert from_json(json.loads(json.dumps(to_json(kept)))) == kept


PLAIN = to_json(KEPT)


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {**PLAIN, "job": 5},
        {**PLAIN, "lease": "xyz"},
        {**PLAIN, "lease": None},
        {**PLAIN, "settled": []},
        {**PLAIN, "answers": [5]},
        {**PLAIN, "answers": [{"report": "00"}]},
        {**PLAIN, "answers": [{"report": "00", "at": -1}]},
        {**PLAIN, "answers": [{"report": "00", "at": True}]},
        {**PLAIN, "answers": [{"report": "00", "at": 10**18}]},
        {**PLAIN, "answers": [{"report": "0", "at": 1}]},
        {**PLAIN, "answers": [{"report": "00", "at": 1, "voucher": 5}]},
    ],
)
def test_other_data_is_refused(said: Any):
    with pytest.raises(InvalidRequest) as refused_:
        from_json(said)
    assert refused_.value.code == "not_receipts"


@pytest.mark.parametrize("settled", [{}, {"transactions": 5}, {"transactions": []}, {"transactions": [5]}, None])
def test_what_was_settled_may_be_anything(settled: Any):
    assert lines_of(replace(KEPT, settled=settled), Period())[0]["transaction"] == ""
