"""Amounts against exact fractions: rounded up once, and what can be afforded is the exact inverse."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from market import money
from market.records import JobSpec, Requirements
from node.job_file.request import JobRequest
from node.job_terms import total_limit_price

PRICES = st.one_of(st.integers(0, money.MAX_PRICE), st.integers(0, 10**6))
GPU_MS = st.one_of(st.integers(0, 2**53), st.integers(0, 10**7))
AMOUNTS = st.one_of(st.integers(0, money.MAX_AMOUNT), st.integers(0, 10**9))


def exactly(price: int, gpu_ms: int) -> Fraction:
    """Units owed, before rounding: nanotokens a second, times seconds, in millionths of a token."""
    return Fraction(price, 10**9) * Fraction(gpu_ms, 1000) * 10**6


@given(PRICES, GPU_MS)
def test_an_amount_is_the_exact_one_rounded_up(price: int, gpu_ms: int):
    assert money.amount_due(price, gpu_ms) == math.ceil(exactly(price, gpu_ms))


@given(PRICES, GPU_MS, GPU_MS)
def test_more_time_never_costs_less(price: int, one: int, other: int):
    low, high = sorted((one, other))
    assert money.amount_due(price, low) <= money.amount_due(price, high)


@given(PRICES, st.lists(st.integers(0, 10**7), min_size=1, max_size=20))
def test_the_cumulative_amount_is_never_above_the_sum_of_its_ticks(price: int, ticks: list[int]):
    whole, parts = money.amount_due(price, sum(ticks)), sum(money.amount_due(price, tick) for tick in ticks)
    assert parts - len(ticks) < whole <= parts


@given(PRICES.filter(bool), AMOUNTS)
def test_what_can_be_afforded_is_the_most_that_can(price: int, amount: int):
    most = money.affordable_ms(price, amount)
    assert money.amount_due(price, most) <= amount < money.amount_due(price, most + 1)


@given(AMOUNTS)
def test_an_amount_survives_being_written_and_read(units: int):
    assert money.parse_tokens(money.format_tokens(units)) == units


@given(st.decimals(min_value=0, max_value=10**9, places=9))
def test_a_price_is_read_within_one_step_and_never_above(per_hour):
    exact = Fraction(per_hour) * 10**9 / 3600
    price = money.parse_hourly_price(f"{per_hour}/h")
    assert price <= exact < price + 1


@given(st.integers(0, 10**12), st.integers(1_000, 31 * 86_400_000), st.integers(1, 4096))
def test_a_job_at_its_highest_price_never_costs_more_than_its_total(total: int, duration_ms: int, slots: int):
    spec = JobSpec(image="x", command=("x",), requirements=Requirements(slots=slots), max_duration_ms=duration_ms)
    price = total_limit_price(JobRequest(name="job", spec=spec, max_price=money.MAX_PRICE, max_total=total))
    assert money.amount_due(price, duration_ms * slots) <= total
    if price < money.MAX_PRICE:
        assert money.amount_due(price + 1, duration_ms * slots) > total
