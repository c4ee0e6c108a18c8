"""Prices that providers are led to: never a loss, never outside the limits, never a jump."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from market.money import MAX_PRICE, format_hourly, parse_hourly_price
from market.pricing import asking_prices, floor_price, quartiles, round_up, smoothed_use, suggest, surge

PRICES = st.integers(0, MAX_PRICE)
USE = st.integers(0, 1000)


@st.composite
def priced(draw: st.DrawFn) -> tuple[int, int, int]:
    """A price within its floor and cap."""
    floor, price, cap = sorted(draw(st.tuples(PRICES, PRICES, PRICES)))
    return floor, price, cap


@given(priced(), USE)
def test_a_step_is_small_towards_the_target_and_within_the_limits(limits: tuple[int, int, int], used: int) -> None:
    floor, price, cap = limits
    after = surge(price, used, floor=floor, cap=cap)
    assert floor <= after <= cap
    assert abs(after - price) * 20 <= price
    assert (after >= price) if used >= 800 else (after <= price)


@given(PRICES, PRICES, PRICES, USE)
def test_any_limits_are_kept(one: int, other: int, price: int, used: int) -> None:
    floor, cap = sorted((one, other))
    assert floor <= surge(price, used, floor=floor, cap=cap) <= cap


@given(USE, USE)
def test_use_moves_towards_what_is_seen(used: int, sample: int) -> None:
    assert min(used, sample) <= smoothed_use(used, sample) <= max(used, sample)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), PRICES), min_size=1, max_size=40))
def test_quartiles_are_ordered_real_prices_and_one_voice_each(tags: list[tuple[bytes | str, int]]) -> None:
    prices = asking_prices(tags)
    found = quartiles(prices)
    assert found is not None
    assert found.low <= found.median <= found.high
    assert {found.low, found.median, found.high} <= {price for _, price in tags}
    assert found.providers == len({provider for provider, _ in tags})


@given(st.integers(0, 10**5), st.integers(0, 10**12), PRICES, st.lists(PRICES, max_size=9))
def test_a_suggestion_never_loses_money(watts: int, kwh: int, wear: int, prices: list[int]) -> None:
    floor = floor_price(watts, kwh, wear)
    assert (floor + 1) * 3_600_000 > min(watts * kwh + wear * 3_600_000, MAX_PRICE * 3_600_000)
    assert floor <= suggest(floor, quartiles(sorted(prices))) <= MAX_PRICE


@given(st.integers(0, 10**12))
def test_a_price_that_is_shown_can_be_typed_in(price: int) -> None:
    shown = round_up(price)
    assert price <= shown <= price + 100_000 // 3600 + 1
    assert parse_hourly_price(format_hourly(shown)) == shown
