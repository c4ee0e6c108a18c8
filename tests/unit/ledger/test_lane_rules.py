"""When to redeem, and how long a view of a lane can be trusted."""

from __future__ import annotations

import pytest

from ledger.lane import LaneBooks
from ledger.lane_rules import RedeemReason, redeem_due, view_good_until_ms
from ledger.ports import LaneKey

BOOKS = LaneBooks(lane=LaneKey(b"r" * 20, b"e" * 20, b"s" * 20))


@pytest.mark.parametrize(
    ("unredeemed", "gas", "exit_running", "forced", "reason"),
    [
        (0, 0, True, True, None),
        (1, 5, False, True, RedeemReason.FORCED),
        (6, 5, True, False, RedeemReason.EXIT),
        (5, 5, True, False, None),
        (101, 5, False, False, RedeemReason.EXPOSURE),
        (100, 5, False, False, None),
        (100, 1, False, False, None),
        (100, 0, False, False, RedeemReason.VALUE),
    ],
)
def test_a_lane_is_redeemed_when_it_pays(
    unredeemed: int, gas: int, exit_running: bool, forced: bool, reason: RedeemReason | None
) -> None:
    found = redeem_due(unredeemed=unredeemed, exit_running=exit_running, exposure_cap=100, gas_cost=gas, forced=forced)
    assert found is reason


def test_gas_worth_half_a_percent_is_worth_it() -> None:
    def due(unredeemed: int) -> RedeemReason | None:
        return redeem_due(unredeemed=unredeemed, exit_running=False, exposure_cap=10**9, gas_cost=10)

    assert due(1999) is None
    assert due(2000) is RedeemReason.VALUE


def test_a_view_is_trusted_for_half_an_exit() -> None:
    assert view_good_until_ms(BOOKS, 3600) == 0
    assert view_good_until_ms(LaneBooks(lane=BOOKS.lane, seen_at_ms=1000), 3600) == 1000 + 1_800_000
    leaving = LaneBooks(lane=BOOKS.lane, seen_at_ms=1000, exit_at=10_000)
    assert view_good_until_ms(leaving, 3600) == 10_000_000 - 1_800_000
