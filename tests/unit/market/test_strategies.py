"""Strategies by name, custom weights, and what is no strategy."""

from __future__ import annotations

import pytest

from market.errors import InvalidRequest
from market.strategies import STRATEGIES, weights_of


def test_every_named_strategy_has_weights_that_add_up_to_a_hundred():
    for name, weights in STRATEGIES.items():
        assert weights_of(name) == weights
        assert sum(weights) == 100


def test_lowest_cost_looks_at_nothing_else():
    assert weights_of("lowest_cost")[1:] == (0, 0, 0)


def test_custom_weights_are_taken_as_they_are():
    assert weights_of("custom", (1000, 0, 0, 7)) == (1000, 0, 0, 7)


@pytest.mark.parametrize("weights", [(), (1, 2, 3), (1, 2, 3, 4, 5), (0, 0, 0, 0), (1001, 0, 0, 0), (-1, 1, 1, 1)])
def test_weights_that_make_no_sense_are_refused(weights: tuple[int, ...]):
    with pytest.raises(InvalidRequest) as error:
        weights_of("custom", weights)
    assert error.value.code == "bad_weights"


@pytest.mark.parametrize("name", ["", "cheapest", "x" * 64])
def test_an_unknown_name_is_refused_and_the_known_ones_are_named(name: str):
    with pytest.raises(InvalidRequest) as error:
        weights_of(name)
    assert error.value.code == "unknown_strategy"
    assert "balanced" in error.value.fix
