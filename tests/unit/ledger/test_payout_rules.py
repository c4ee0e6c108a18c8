"""When earnings are sent to their owner, and how much of them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.payout_rules import DAY_MS, LAST_DAY, PayoutPlan, next_date, payout_due, surplus

OWNER = b"\x0a" * 20
AMOUNTS = st.integers(0, 2**63)
SCHEDULES = ["", "day", "week", *(str(day) for day in range(1, LAST_DAY + 1))]


def plan(**changes: object) -> PayoutPlan:
    return PayoutPlan(**{"to": OWNER, "threshold": 100, **changes})


def utc(text: str) -> int:
    return round(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() * 1000)


@given(balance=AMOUNTS, earned=AMOUNTS, paid_out=AMOUNTS, keep=AMOUNTS)
def test_only_what_was_earned_is_sent_and_never_what_is_kept(balance: int, earned: int, paid_out: int, keep: int):
    amount = surplus(plan(keep=keep), balance=balance, earned=earned, paid_out=paid_out)
    assert amount >= 0
    assert amount + paid_out <= max(earned, paid_out)
    assert balance - amount >= min(balance, keep)


@pytest.mark.parametrize(("amount", "due"), [(0, False), (99, False), (100, True), (101, True)])
def test_the_threshold_is_what_makes_a_transfer_worth_its_gas(amount: int, due: bool):
    assert payout_due(plan(), amount=amount, last_ms=5, now_ms=5) is due


def test_nothing_is_never_sent_even_without_a_threshold():
    assert not payout_due(plan(threshold=0), amount=0, last_ms=0, now_ms=9)


@pytest.mark.parametrize(
    ("every", "last", "next_one"),
    [
        ("day", "2026-11-23T05:50:00", "2026-11-24T00:00:00"),
        ("day", "2026-11-23T00:00:00", "2026-11-24T00:00:00"),
        ("week", "2026-11-23T05:50:00", "2026-11-30T00:00:00"),  # the 23rd is a Monday
        ("week", "2026-11-22T23:59:59", "2026-11-23T00:00:00"),
        ("1", "2026-11-23T05:50:00", "2026-12-01T00:00:00"),
        ("28", "2026-11-23T05:50:00", "2026-11-28T00:00:00"),
        ("23", "2026-12-23T00:00:00", "2027-01-23T00:00:00"),
        ("", "2026-11-23T05:50:00", "2026-11-23T05:50:00"),
    ],
)
def test_dates_are_days_in_utc(every: str, last: str, next_one: str):
    assert next_date(plan(every=every), utc(last)) == utc(next_one)


@given(every=st.sampled_from([one for one in SCHEDULES if one]), last_ms=st.integers(0, utc("2100-01-01T00:00:00")))
def test_the_next_date_is_later_begins_a_day_and_is_not_far(every: str, last_ms: int):
    found = next_date(plan(every=every), last_ms)
    assert last_ms < found <= last_ms + 31 * DAY_MS
    assert found % DAY_MS == 0
