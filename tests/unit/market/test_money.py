"""Amounts and prices: rounded once and upwards, parsed exactly, hostile text refused before it costs anything."""

from __future__ import annotations

import pytest

from market import money
from market.errors import InvalidRequest


def test_an_amount_is_rounded_up_and_only_once():
    assert money.amount_due(0, 10**12) == 0
    assert money.amount_due(1, 0) == 0
    assert money.amount_due(1, 1) == 1
    # 100,000 nanotokens a second for 10 s are exactly 1,000 units; one millisecond more costs a unit more.
    assert money.amount_due(100_000, 10_000) == 1_000
    assert money.amount_due(100_000, 10_001) == 1_001


def test_ticks_billed_one_by_one_would_cost_more():
    ticks = [money.amount_due(1, 10_000)] * 100
    assert money.amount_due(1, 10_000 * 100) < sum(ticks)


def test_a_free_machine_can_be_afforded_for_ever():
    assert money.affordable_ms(0, 0) == 2**63 - 1


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("4.25", 4_250_000),
        (" 1 ", 1_000_000),
        ("0.000001", 1),
        ("1e3", 1_000_000_000),
        ("79228162514264337593543.950335", money.MAX_AMOUNT),
    ],
)
def test_an_amount_is_read_exactly(text: str, units: int):
    assert money.parse_tokens(text) == units


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.0000001", "amount_too_fine"),
        ("1.00000000000000000000000000000000001", "amount_too_fine"),
        ("79228162514264337593543.950336", "amount_too_large"),
        ("1e60", "amount_too_large"),
        ("1e999999", "bad_amount"),
        ("1e-999999999", "bad_amount"),
        ("0e999999999", "bad_amount"),
        ("9" * 500, "bad_amount"),
        ("-1", "bad_amount"),
        ("NaN", "bad_amount"),
        ("sNaN", "bad_amount"),
        ("Infinity", "bad_amount"),
        ("", "not_an_amount"),
        ("4,25", "not_an_amount"),
        ("0x10", "not_an_amount"),
        ("ten", "not_an_amount"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, code: str):
    with pytest.raises(InvalidRequest) as refused:
        money.parse_tokens(text)
    assert refused.value.code == code


@pytest.mark.parametrize("text", ["-1", "abc", "1,5", "", "inf", "nan"])
def test_whoever_writes_no_amount_is_told_how_one_is_written(text: str):
    with pytest.raises(InvalidRequest) as refused:
        money.parse_tokens(text)
    assert "2.5" in refused.value.fix


def test_a_written_price_is_the_same_for_both_sides_and_never_more_than_written():
    # 0.35 tokens an hour are 97,222.2… nanotokens a second.
    assert money.parse_hourly_price("0.35/h") == 97_222
    assert money.parse_hourly_price("0.36/gpu-h") == 100_000
    assert money.parse_hourly_price("0.36/h") == 100_000
    assert money.parse_hourly_price("0.3600000000000000000000000000000001/h") == 100_000


def test_the_highest_price_is_a_price_and_one_above_is_not():
    per_hour = money.MAX_PRICE * 3600 // money.NANO_PER_TOKEN
    assert money.parse_hourly_price(f"{per_hour}/h") == money.MAX_PRICE
    with pytest.raises(InvalidRequest) as refused:
        money.parse_hourly_price(f"{per_hour}.0001/h")
    assert refused.value.code == "price_too_large"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.35", "price_unit"),
        ("0.35/s", "price_unit"),
        ("0.35/", "price_unit"),
        ("/h", "not_an_price"),
        ("-1/h", "bad_price"),
        ("1e999999999/h", "bad_price"),
    ],
)
def test_what_is_no_price_is_refused(text: str, code: str):
    with pytest.raises(InvalidRequest) as refused:
        money.parse_hourly_price(text)
    assert refused.value.code == code


def test_amounts_are_written_with_six_decimals():
    assert money.format_tokens(0) == "0.000000"
    assert money.format_tokens(1_500_000) == "1.500000"
    assert money.format_tokens(-1) == "-0.000001"
    assert money.format_tokens(money.MAX_AMOUNT) == "79228162514264337593543.950335"


def test_prices_are_written_per_hour():
    assert money.format_hourly(97_223) == "0.3500/h"
    assert money.format_hourly(0) == "0.0000/h"
