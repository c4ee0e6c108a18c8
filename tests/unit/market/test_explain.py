"""Why not: the counts add up, and what is proposed is the nearest change and works."""

from __future__ import annotations

from typing import Any

import pytest

from market.explain import Change, why_not
from market.records import Requirements
from tests.fakes.samples import BUYER, a_candidate, some_limits

Fields = dict[str, Any]


def test_failures_are_counted_per_rule_and_alone():
    book = [
        a_candidate(),
        a_candidate(price=300_000),
        a_candidate(price=300_000, cpu_milli=1),
        a_candidate(cpu_milli=2),
    ]
    answer = why_not(book, Requirements(cpu_milli=1_000), some_limits())
    assert (answer.offers, answer.matches) == (4, 1)
    assert {rule.rule: (rule.fails, rule.only) for rule in answer.rules} == {"price": (2, 1), "cpu": (2, 1)}


def test_an_empty_book_has_no_reasons():
    answer = why_not([], Requirements(), some_limits())
    assert (answer.offers, answer.matches, answer.rules, answer.closest) == (0, 0, (), ())


PROPOSALS: list[tuple[list[Fields], Fields, tuple[str, str, object]]] = [
    ([{"price": 300_000}, {"price": 250_000}], {}, ("price", "max_price", 250_000)),
    ([{"cpu_milli": 1_000}, {"cpu_milli": 2_000}], {"cpu_milli": 3_000}, ("cpu", "cpu_milli", 2_000)),
    ([{"memory_mib": 10}, {"memory_mib": 20}], {"memory_mib": 30}, ("memory", "memory_mib", 20)),
    ([{"disk_mib": 10}, {"disk_mib": 20}], {"disk_mib": 30}, ("disk", "disk_mib", 20)),
    ([{"cuda_milli": 11_000}, {"cuda_milli": 12_000}], {"cuda_milli": 12_800}, ("cuda", "cuda_milli", 12_000)),
    ([{"reputation": 10}, {"reputation": 20}], {"min_reputation": 30}, ("reputation", "min_reputation", 20)),
    ([{"vram_mib": 8_000}, {"vram_mib": 16_000}], {"vram_mib": 20_000}, ("vram", "vram_mib", 16_000)),
    ([{"vram_mib": 80_000}, {"vram_mib": 48_000}], {"vram_max_mib": 24_000}, ("vram", "vram_max_mib", 48_000)),
    (
        [{"vram_mib": 80_000}, {"vram_mib": 8_000}],
        {"vram_mib": 10_000, "vram_max_mib": 24_000},
        ("vram", "vram_mib", 8_000),
    ),
    ([{"simulated": True}], {}, ("simulated", "allow_simulated", True)),
    ([{"gpu": "H100"}, {"gpu": "A100"}], {"gpus": ("rtx4090",)}, ("gpu", "gpus", "A100")),
    ([{"region": "us-east"}], {"regions": ("eu",)}, ("region", "regions", "us-east")),
    ([{"free_slots": 1}], {"slots": 2}, ("slots", "slots", 1)),
]


@pytest.mark.parametrize(("offers", "requirements", "change"), PROPOSALS)
def test_the_nearest_change_is_proposed(offers: list[Fields], requirements: Fields, change: tuple[str, str, Any]):
    answer = why_not([a_candidate(**one) for one in offers], Requirements(**requirements), some_limits())
    rule, field, value = change
    assert answer.closest == (Change(rule=rule, field=field, value=value, matches=1),)


@pytest.mark.parametrize(
    ("offer", "requirements", "limits"),
    [
        ({"free_slots": 0}, {}, {}),
        ({}, {"runtime": "runsc"}, {}),
        ({}, {}, {"escrow": b"x" * 20}),
        ({}, {}, {"allow": (BUYER.key,)}),
        ({"price": 300_000, "cpu_milli": 1}, {"cpu_milli": 2}, {}),
    ],
)
def test_nothing_is_proposed_that_one_change_does_not_mend(offer: Fields, requirements: Fields, limits: Fields):
    answer = why_not([a_candidate(**offer)], Requirements(**requirements), some_limits(**limits))
    assert (answer.matches, answer.closest) == (0, ())


def test_a_proposal_says_how_many_more_would_match():
    book = [a_candidate(cpu_milli=2_000), a_candidate(cpu_milli=2_000), a_candidate(cpu_milli=500), a_candidate()]
    answer = why_not(book, Requirements(cpu_milli=3_000), some_limits())
    assert answer.matches == 1
    assert answer.closest == (Change(rule="cpu", field="cpu_milli", value=2_000, matches=2),)
