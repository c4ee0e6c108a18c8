"""The table of speeds: found whatever words the driver adds, and a figure for scoring that grows with speed."""

from __future__ import annotations

import pytest

from market.speeds import SPEEDS, UNKNOWN, listed_name, performance, speed_of
from node.job_file.gpu import KNOWN_MODELS


@pytest.mark.parametrize(
    ("model", "like"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA L40S", "L40S"),
        ("Tesla T4", "T4"),
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000"),
    ],
)
def test_a_card_is_found_by_what_its_driver_calls_it(model: str, like: str):
    assert speed_of(model) == SPEEDS[like]


def test_a_card_nobody_knows_is_in_the_middle():
    assert speed_of("Quantum 9000") == UNKNOWN
    assert speed_of("none") == 1000, "machines without a card are alike"


def test_every_model_that_can_be_asked_for_by_name_has_a_speed():
    assert {model for model in KNOWN_MODELS if model not in SPEEDS} == set()


def test_performance_grows_and_stays_a_permille():
    figures = [performance(speed) for speed in (0, 1, 100, 500, 1000, 5000, 1_000_000)]
    assert figures == sorted(figures)
    assert (figures[0], performance(1000), figures[-1]) == (0, 500, 999)


@pytest.mark.parametrize("name", SPEEDS)
def test_every_listed_card_is_found_under_its_own_name(name: str):
    assert listed_name(name) == name
    assert listed_name(f"NVIDIA {name} 80GB PCIe") == name
    assert listed_name(f"{name} Laptop") is None
