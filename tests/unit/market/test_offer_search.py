"""The bounded search where its short cuts could go wrong; that it agrees with the scan at large: tests/property."""

from __future__ import annotations

import pytest

from market.offer_row import Row, scan
from market.offer_search import Best
from tests.unit.market.test_offer_index import a_query, a_row, an_index


def a_market() -> list[Row]:
    """Many rows of few speeds, where the cheap have little reputation and the near are slow."""
    return [
        a_row(
            number,
            price=1_000 + number * 37 % 500,
            reputation=1_000 - number * 37 % 500,
            speed=(300, 310, 1_000, 3_000)[number % 4],
            perf=(230, 236, 500, 750)[number % 4],
            latency=5 + number * 11 % 300,
            failure=(20, 20, 20, 45)[number * 7 % 4],
            link=80 * (number % 3),
            opening=number % 5 // 4 * 30,
            images=frozenset({7} if number % 6 == 0 else ()),
        )
        for number in range(400)
    ]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"w_speed": 200},
        {"w_reliability": 500},
        {"w_cost": 10, "w_reliability": 700, "w_speed": 80, "w_latency": 60},
        {"w_cost": 0, "w_latency": 1},
        {"w_cost": 0},
        {"paced": True},
        {"paced": True, "max_ms": 70_000},
        {"image": 7, "image_mib": 9_000, "moved_mib": 100, "waiting": 900},
        {"work_ms": 333, "max_ms": 500, "w_speed": 3},
        {"work_ms": 0, "w_speed": 3},
        {"reference": 0, "w_speed": 100},
    ],
)
@pytest.mark.parametrize("count", [1, 2, 16, 500])
def test_the_proof_leaves_out_none_of_the_best(wish: dict[str, int], count: int):
    rows = a_market()
    query = a_query(**{"image": 1, **wish})
    assert an_index(*rows).top(query, count) == scan(rows, query, count)


def test_the_best_of_a_group_only_widens():
    best = Best.of(a_row(1, speed=100, perf=90, reputation=800, latency=40, failure=20, opening=5))
    best.widen(a_row(2, speed=50, perf=95, reputation=700, latency=10, failure=30, opening=0))
    assert best == Best(speed=100, perf=95, reputation=800, latency=10, failure=20, opening=0)
