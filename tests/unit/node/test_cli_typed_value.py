"""A wrong value is told with the place it was typed at, and with what would be right."""

from __future__ import annotations

import click
import pytest

from node.cli.failures import Usage
from node.cli.typed_value import NumberRange, read_value
from node.quantities import parse_duration_ms


def test_a_good_value_is_read() -> None:
    assert read_value("--over", parse_duration_ms, "2m") == 120_000


def test_a_wrong_one_names_its_flag_and_keeps_the_fix() -> None:
    with pytest.raises(Usage) as told:
        read_value("--over", parse_duration_ms, "2")
    assert (told.value.code, told.value.message) == ("usage", "--over: '2' is not a duration")
    assert "30m" in told.value.fix


@pytest.mark.parametrize("typed", ["nan", "-nan", "1.01", "inf", "x"])
def test_a_number_outside_of_its_range_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        NumberRange(0, 1).convert(typed, None, None)


def test_a_number_in_its_range_is_taken() -> None:
    assert NumberRange(0, 1).convert("0.5", None, None) == 0.5
