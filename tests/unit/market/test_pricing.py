"""What a provider may ask: a floor that covers the cost, quartiles nobody can move alone, a surge that stays slow."""

from __future__ import annotations

import pytest

from market.money import MAX_PRICE, parse_hourly_price
from market.pricing import (
    Quartiles,
    asking_prices,
    floor_price,
    quartiles,
    same_class,
    smoothed_use,
    suggest,
    surge,
)

KWH = 300_000_000
"""0.30 tokens, in nanotokens."""


def test_the_floor_is_the_energy_of_an_hour_and_its_wear() -> None:
    assert floor_price(350, KWH) == parse_hourly_price("0.105/h"), "0.35 kWh at 0.30"
    assert floor_price(2000, KWH) == parse_hourly_price("0.60/h")
    assert floor_price(350, KWH, parse_hourly_price("0.02/h")) == floor_price(350, KWH) + parse_hourly_price("0.02/h")
    assert (floor_price(0, KWH, 5), floor_price(350, 0, 5), floor_price(0, 0)) == (5, 5, 0)


def test_an_absurd_cost_is_still_a_price() -> None:
    assert floor_price(10**9, 10**18, 0) == MAX_PRICE


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ([7], (7, 7, 7)),
        ([1, 2], (1, 1, 1)),
        ([1, 2, 3], (1, 2, 2)),
        ([1, 2, 3, 4], (1, 2, 3)),
        ([1, 2, 3, 4, 5], (2, 3, 4)),
        (list(range(101)), (25, 50, 75)),
    ],
)
def test_quartiles_are_prices_that_are_asked(prices: list[int], found: tuple[int, int, int]) -> None:
    low, median, high = found
    assert quartiles(prices) == Quartiles(low=low, median=median, high=high, providers=len(prices))


def test_no_market_has_no_quartiles() -> None:
    assert quartiles(asking_prices([])) is None


def test_a_provider_counts_once_however_many_machines_it_poses_as() -> None:
    honest = [("a", 10), ("b", 20), ("c", 30)]
    assert asking_prices(honest + [("d", price) for price in range(1_000, 900, -1)]) == [10, 20, 30, 901]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("none", "none", True),
        ("NVIDIA H100 80GB HBM3", "H100", True),
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("NVIDIA GeForce RTX 4090", "rtx4090", True),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx4090", False),
        ("none", "H100", False),
    ],
)
def test_a_class_is_a_model_however_it_is_spelled(one: str, other: str, same: bool) -> None:
    assert same_class(one, other) is same


@pytest.mark.parametrize(
    ("floor", "market", "price"), [(10, (5, 20, 30), 20), (25, (5, 20, 30), 25), (10, None, 20), (0, None, 0)]
)
def test_a_suggestion_covers_the_cost_first(floor: int, market: tuple[int, int, int] | None, price: int) -> None:
    known = Quartiles(low=market[0], median=market[1], high=market[2], providers=3) if market else None
    assert suggest(floor, known) == price


@pytest.mark.parametrize(
    ("used", "price"),
    [(1000, 105_000), (900, 102_500), (801, 100_025), (800, 100_000), (799, 99_994), (400, 97_500), (0, 95_000)],
)
def test_a_surge_moves_by_how_far_use_is_from_the_target(used: int, price: int) -> None:
    assert surge(100_000, used, floor=1, cap=10**9) == price


def test_a_surge_ends_at_its_limits() -> None:
    assert surge(100_000, 1000, floor=50_000, cap=103_000) == 103_000
    assert surge(100_000, 0, floor=98_000, cap=400_000) == 98_000
    assert surge(10, 500, floor=50_000, cap=200_000) == 50_000, "its owner has just raised the floor"


def test_use_is_remembered() -> None:
    used = 0
    history = []
    for _ in range(60):
        used = smoothed_use(used, 1000)
        history.append(used)
    assert history[0] == 125
    assert history == sorted(history)
    assert history[-1] > 990
    for _ in range(60):
        used = smoothed_use(used, 0)
    assert used == 0
