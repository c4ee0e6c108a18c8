"""Units are required, sizes are what they say, and nothing is silently rounded to nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidRequest
from node.quantities import (
    format_duration,
    format_gas,
    format_memory,
    format_size,
    parse_cpu_milli,
    parse_duration_ms,
    parse_duration_us,
    parse_energy_price,
    parse_rate_mbps,
    parse_size_bytes,
    parse_size_mib,
)


@pytest.mark.parametrize(
    ("text", "ms"), [("10s", 10_000), ("1.5h", 5_400_000), ("200ms", 200), ("2d", 172_800_000), (" 30m ", 1_800_000)]
)
def test_durations(text: str, ms: int) -> None:
    assert parse_duration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "size"), [("1KB", 1000), ("1 GiB", 2**30), ("32GB", 32 * 10**9), ("0.5MB", 500_000), ("1tib", 2**40)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size_bytes(text) == size


def test_small_sizes_are_rounded_up_and_never_to_nothing() -> None:
    assert parse_size_mib("1KB") == 1
    assert parse_size_mib("1MiB") == 1
    assert parse_size_mib("1025KiB") == 2


def test_cpus() -> None:
    assert (parse_cpu_milli("8"), parse_cpu_milli("0.5"), parse_cpu_milli("0.001")) == (8000, 500, 1)


@pytest.mark.parametrize(("text", "us"), [("40ms", 40_000), ("0.5ms", 500), ("800us", 800), ("1s", 1_000_000)])
def test_round_trips_have_microseconds(text: str, us: int) -> None:
    assert parse_duration_us(text) == us


@pytest.mark.parametrize(
    ("text", "mbps"), [("1Gbit", 1000), ("400Mbit/s", 400), ("2.5Gbps", 2500), ("0.9mbit", 0), ("1.9Mbit", 1)]
)
def test_lines_are_counted_in_bits_and_never_rounded_up(text: str, mbps: int) -> None:
    assert parse_rate_mbps(text) == mbps


@pytest.mark.parametrize("text", ["100MB/s", "100MBps", "1 GB", "1000", "1Tbit"])
def test_bytes_are_not_taken_for_bits(text: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse_rate_mbps(text)
    assert "Mbit" in error.value.fix


def test_energy_is_priced_by_the_kilowatt_hour() -> None:
    assert (parse_energy_price("0.30/kWh"), parse_energy_price("0/kwh")) == (300_000_000, 0)
    with pytest.raises(InvalidRequest):
        parse_energy_price("0.30/h")


@pytest.mark.parametrize(
    "parse",
    [parse_duration_ms, parse_size_bytes, parse_cpu_milli, parse_duration_us, parse_rate_mbps, parse_energy_price],
)
@pytest.mark.parametrize(
    "text", ["", "-1s", "1e3s", "s", "10 hours", "1,5h", "NaN", "inf", "9" * 40, "\uff11s", "0x10GB"]
)
def test_anything_else_is_refused_with_a_fix(parse: Callable[[str], int], text: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        parse(text)
    assert error.value.fix


@pytest.mark.parametrize("text", ["100", "6"])
def test_bare_numbers_are_refused_where_a_unit_matters(text: str) -> None:
    for parse in (parse_duration_ms, parse_size_bytes):
        with pytest.raises(InvalidRequest):
            parse(text)


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0.0 s"), (400, "0.4 s"), (252_000, "4 m 12 s"), (7_500_000, "2 h 5 m"), (10**9, "11 d 13 h")]
)
def test_durations_for_people(ms: int, text: str) -> None:
    assert format_duration(ms) == text


@pytest.mark.parametrize("text", ["4GB", "256MB", "20GB", "1.5GB", "2GiB", "24GiB", "512MiB"])
def test_memory_is_shown_as_it_was_given(text: str) -> None:
    assert format_memory(parse_size_mib(text)) == text


@given(st.integers(min_value=1, max_value=2**24))
def test_memory_that_is_shown_means_the_same_when_typed_in(mib: int) -> None:
    assert parse_size_mib(format_memory(mib)) == mib


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (2_100_000, "2.1 MB"), (5 * 10**15, "5000.0 TB")]
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("wei", "text"),
    [
        (0, "0.000000"),
        (1, "less than 0.000001"),
        (10**12, "0.000001"),
        (25 * 10**16, "0.250000"),
        (10**20, "100.000000"),
    ],
)
def test_gas_is_shown_in_the_coin_people_know(wei: int, text: str) -> None:
    assert format_gas(wei) == f"{text} of the chain's coin (ether)"
