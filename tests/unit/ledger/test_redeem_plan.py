"""Which lanes go into a redemption: worth it together, dust never, the most valuable first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.lane_rules import RedeemReason, redeem_due
from ledger.ports import LaneKey
from ledger.redeem_plan import Drawable, GasCost, gas_cost, plan_redemption

FREE = GasCost(base=0, row=0)


def lane(number: int, unredeemed: int, *, leaving: bool = False, idle: bool = False) -> Drawable:
    key = LaneKey(payer=bytes([number]) * 20, payee=b"e" * 20, signer=b"s" * 20)
    return Drawable(lane=key, unredeemed=unredeemed, leaving=leaving, idle=idle)


def reasons(
    lanes: list[Drawable], gas: GasCost | None, *, cap: int = 10**6, last: bool = False
) -> list[tuple[int, str]]:
    found = plan_redemption(lanes, exposure_cap=cap, gas=gas, last=last)
    return [(one.unredeemed, str(reason)) for one, reason in found]


def test_lanes_that_alone_are_not_worth_the_gas_are_worth_it_together() -> None:
    gas = GasCost(base=100, row=10)
    assert reasons([lane(1, 4_000)], gas) == []
    assert reasons([lane(n, 4_000) for n in range(10)], gas) == [(4_000, "value")] * 10


def test_a_lane_that_is_due_anyway_carries_those_it_makes_cheap() -> None:
    gas = GasCost(base=100, row=10)
    assert reasons([lane(1, 12_000), lane(2, 500, leaving=True)], gas) == [(12_000, "value"), (500, "exit")]
    assert reasons([lane(1, 12_000)], gas) == []


def test_dust_stays_whatever_happens_to_it() -> None:
    dust = [lane(1, 10, leaving=True), lane(2, 10, idle=True)]
    assert reasons(dust, GasCost(base=0, row=10), cap=1, last=True) == []


def test_where_nobody_knows_the_price_of_gas_only_need_and_exposure_count() -> None:
    lanes = [lane(1, 10**5), lane(2, 10**7), lane(3, 5, leaving=True), lane(4, 6, idle=True)]
    assert reasons(lanes, None) == [(10**7, "exposure"), (6, "last"), (5, "exit")]
    assert len(reasons(lanes, None, last=True)) == 4


def test_gas_is_counted_up_at_the_live_price() -> None:
    # 1 gwei and a coin of 2,500 tokens: 41,000 gas are 0.1025 tokens.
    assert gas_cost(10**9, 2_500_000_000) == GasCost(base=102_500, row=26_000)
    assert gas_cost(1, 1) == GasCost(base=1, row=1)
    assert gas_cost(0, 10**9) == FREE


@given(
    st.lists(st.tuples(st.integers(1, 10**6), st.booleans(), st.booleans()), max_size=12),
    st.integers(0, 3_000),
    st.integers(0, 300),
    st.integers(0, 10**6),
)
def test_every_row_of_a_plan_is_due_and_no_larger_plan_is(
    given_lanes: list[tuple[int, bool, bool]], base: int, row: int, cap: int
) -> None:
    gas = GasCost(base=base, row=row)
    lanes = [lane(n, value, leaving=away, idle=idle) for n, (value, away, idle) in enumerate(given_lanes)]

    def due(one: Drawable, rows: int) -> RedeemReason | None:
        return redeem_due(
            unredeemed=one.unredeemed,
            exit_running=one.leaving,
            exposure_cap=cap,
            gas_cost=gas.share(rows),
            last=one.idle,
        )

    found = plan_redemption(lanes, exposure_cap=cap, gas=gas)
    assert all(due(one, len(found)) is reason for one, reason in found)
    assert [one.unredeemed for one, _ in found] == sorted((one.unredeemed for one, _ in found), reverse=True)
    for size in range(len(found) + 1, len(lanes) + 1):
        assert sum(due(one, size) is not None for one in lanes) < size
