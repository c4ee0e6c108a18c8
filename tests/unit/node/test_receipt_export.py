"""Receipts for billing programs: nothing is lost on the way to CSV or CloudEvents, and nothing in them runs."""

from __future__ import annotations

import csv
import io
import json

from node.receipt_export import COLUMNS, EVENT_TYPE, to_cloudevents, to_csv
from node.receipt_lines import Period, lines_of
from tests.fakes.receipts import some_receipts

KEPT = some_receipts()
LINES = lines_of(KEPT, Period())


def test_a_table_has_the_very_numbers_of_the_receipts():
    rows = list(csv.DictReader(io.StringIO(to_csv(LINES).decode())))
    assert list(rows[0]) == list(COLUMNS)
    assert sum(int(row["amount_units"]) for row in rows) == sum(line["amount_units"] for line in LINES)
    assert [row["voucher_units"] for row in rows] == ["", "500", "1000", "1124"]
    assert [row["final"] for row in rows] == ["false", "false", "false", "true"]
    assert list(csv.DictReader(io.StringIO(to_csv([]).decode()))) == []


def test_a_machine_s_name_is_no_formula():
    for name in ("=1+1", "+1", "-1", "@x", "\tx", "\r=x"):
        (row,) = csv.DictReader(io.StringIO(to_csv([{**LINES[0], "machine": name}]).decode(), newline=""))
        assert row["machine"] == "'" + name


def test_events_are_a_batch_of_which_each_is_named_once_for_ever():
    events = json.loads(to_cloudevents(LINES))
    assert {event["specversion"] for event in events} == {"1.0"}
    assert {event["type"] for event in events} == {EVENT_TYPE}
    assert len({(event["source"], event["id"]) for event in events}) == len(LINES)
    assert [event["data"] for event in events] == LINES
    assert events[0]["source"] == "urn:computefabric:node:" + LINES[0]["provider"]
    assert (events[0]["subject"], events[0]["time"]) == (LINES[0]["lease"], LINES[0]["answered_at"])
    again = lines_of(some_receipts(), Period())
    assert json.loads(to_cloudevents(again)) == events
    assert json.loads(to_cloudevents([])) == []
