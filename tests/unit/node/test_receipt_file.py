"""Files of receipts: written in one way, read back the same, and refused when anything in them was changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import InvalidRequest
from node.receipt_file import read_file, write_file
from node.receipt_lines import Period, lines_of, totals_of
from tests.fakes.receipts import some_receipts
from tests.fakes.samples import NOW

ONE = some_receipts()
TWO = some_receipts((0, 700), bid_id=b"2" * 16, price=777)
FILE = write_file([ONE, TWO], Period())


def test_what_was_written_is_read_back():
    found = read_file(FILE)
    assert (found.leases, found.period, found.altered) == ((ONE, TWO), Period(), "")
    assert found.totals == totals_of([*lines_of(ONE, Period()), *lines_of(TWO, Period())])


def test_a_period_chooses_lines_and_keeps_whole_leases():
    period = Period(since=NOW + 6_000)
    found = read_file(write_file([ONE, TWO], period))
    assert (found.leases, found.period, found.altered) == ((ONE,), period, "")
    assert found.totals["receipts"] == 2


def test_nothing_in_a_period_is_a_file_too():
    found = read_file(write_file([ONE], Period(since=NOW + 10**9)))
    assert (found.leases, found.totals["amount_units"], found.altered) == ((), 0, "")


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"5", b"\xff", b'{"format": "x"}', b"[" * 10**5, FILE[:-30]])
def test_what_is_no_file_of_receipts_is_refused(raw: bytes):
    with pytest.raises(InvalidRequest) as refused:
        read_file(raw)
    assert refused.value.code == "not_receipts"


def altered(**changes: Any) -> str:
    content = {**json.loads(FILE), **changes}
    return read_file(json.dumps(content, indent=1, sort_keys=True).encode() + b"\n").altered


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"totals": {}}, "'totals'"),
        ({"since": 1}, "digest"),
        ({"since": "soon"}, "period"),
        ({"since": NOW + 6_000}, "line 1"),
        ({"digest": "00"}, "digest"),
        ({"lines": []}, "0 lines"),
        ({"lines": 5}, "'lines'"),
        ({"extra": 1}, "does not belong"),
    ],
)
def test_what_was_changed_is_named(changes: dict[str, Any], named: str):
    assert named in altered(**changes)


@pytest.mark.parametrize("field", sorted(json.loads(FILE)["lines"][0]))
def test_every_field_of_a_line_is_what_the_receipt_says(field: str):
    lines = json.loads(FILE)["lines"]
    lines[2][field] = "another"
    assert altered(lines=lines).startswith(f"line 3: {field}")


@pytest.mark.parametrize(("field", "value"), [("job", "k"), ("gpu", "H100"), ("role", "provider"), ("settled", None)])
def test_what_nobody_signed_is_under_the_digest(field: str, value: Any):
    leases = json.loads(FILE)["leases"]
    leases[0][field] = value
    lines = [line for kept in (replace(ONE, **{field: value}), TWO) for line in lines_of(kept, Period())]
    assert "nobody signed" in altered(leases=leases, lines=lines)


def test_another_form_of_the_same_content_is_not_what_was_written():
    assert "form" in read_file(json.dumps(json.loads(FILE)).encode()).altered
