"""What a provider has earned, by day, GPU model and job."""

from __future__ import annotations

import pytest

from market.errors import InvalidRequest
from node.drawn import drawn_view
from node.earnings import Earned, earned_of, group_earnings

DAY_MS = 86_400_000
MIDNIGHT = 1_763_856_000_000
"""2025-11-23, 00:00 UTC."""


def earned(lease: str, gpu: str, at_ms: int, amount: int) -> Earned:
    return Earned(at_ms=at_ms, lease=lease, gpu=gpu, amount=amount, gpu_ms=1_000)


PAYMENTS = [
    earned("l1", "A100", MIDNIGHT - 1, 5),
    earned("l1", "A100", MIDNIGHT, 7),
    earned("l2", "RTX4090", MIDNIGHT + DAY_MS - 1, 1),
    earned("l3", "A100", MIDNIGHT + DAY_MS, 100),
]

ALL_DRAWN = drawn_view([])


def lines(by: str) -> list[tuple[str, int, int]]:
    return [
        (one["key"], one["amount"]["units"], one["leases"]) for one in group_earnings(PAYMENTS, by, ALL_DRAWN)["lines"]
    ]


def test_a_payment_counts_on_the_day_on_which_it_came_and_the_newest_day_is_first():
    assert lines("day") == [("2025-11-24", 100, 1), ("2025-11-23", 8, 2), ("2025-11-22", 5, 1)]


def test_models_and_jobs_are_told_with_the_most_first():
    assert lines("gpu") == [("A100", 112, 2), ("RTX4090", 1, 1)]
    assert lines("job") == [("l3", 100, 1), ("l1", 12, 1), ("l2", 1, 1)]


def test_nothing_earned_is_an_empty_table():
    assert group_earnings([], "day", drawn_view([])) == {
        "by": "day",
        "total": {"amount": "0.000000", "units": 0},
        "settled": {key: {"amount": "0.000000", "units": 0} for key in ("vouched", "drawn", "outstanding", "lost")},
        "gpu_ms": 0,
        "lines": [],
    }
    assert earned_of("l", "A100", []) == []


@pytest.mark.parametrize("by", ["", "month", "\x1b[2J"])
def test_another_grouping_is_refused(by: str):
    with pytest.raises(InvalidRequest) as refused:
        group_earnings(PAYMENTS, by, ALL_DRAWN)
    assert refused.value.code == "bad_grouping"
