"""The specification itself, on figures small enough to check by hand."""

from __future__ import annotations

from typing import Any

import pytest

from market.money import NANO_MS_PER_UNIT
from market.offer_row import ALL, SIMULATED, Query, Row, expected_cost, expected_ms, fits, mix, rank, scan, score

ROW = Row(
    handle=3, id=b"i" * 32, tie=7, provider=1, klass=2, expires=1_000, price=100, free=2, vram=24, cpu=4, memory=16,
    disk=50, cuda=12, driver=535, notice=60, reputation=900, rtt_us=5_000, latency=5, venue=1, region=2, jurisdiction=4,
    runtimes=0b11, flags=0, speed=2000, perf=666, link=8192, failure=100, opening=3, images=frozenset({77}),
)  # fmt: skip
QUERY = Query(
    tie=5, now=999, classes=(2,), venue=1, max_price=100, slots=2, vram=24, vram_max=24, cpu=4, memory=16, disk=50,
    cuda=12, driver=535, notice=60, reputation=900, max_rtt_us=5_000, regions=2, jurisdictions=4, runtimes=0b10,
    barred=SIMULATED, allow=frozenset({1}), deny=frozenset(), work_ms=1_000, paced=True, max_ms=10_000, image=77,
    image_mib=100, moved_mib=1024, waiting=10, reference=50, w_cost=1, w_speed=2, w_reliability=3, w_latency=4,
)  # fmt: skip


def test_at_every_border_at_once_it_still_fits():
    assert fits(ROW, QUERY)


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("klass", 1),
        ("expires", 999),
        ("free", 1),
        ("price", 101),
        ("vram", 23),
        ("vram", 25),
        ("cpu", 3),
        ("memory", 15),
        ("disk", 49),
        ("cuda", 11),
        ("driver", 534),
        ("notice", 59),
        ("reputation", 899),
        ("rtt_us", 5_001),
        ("rtt_us", 0),
        ("venue", 2),
        ("region", 1),
        ("jurisdiction", 8),
        ("runtimes", 0b01),
        ("flags", SIMULATED),
        ("provider", 2),
    ],
)
def test_one_step_beyond_any_border_it_does_not(what: str, value: int):
    assert not fits(ROW._replace(**{what: value}), QUERY)


def test_lists_of_providers():
    assert fits(ROW, QUERY._replace(allow=None))
    assert not fits(ROW, QUERY._replace(deny=frozenset({1})))
    assert fits(ROW, QUERY._replace(regions=ALL, jurisdictions=ALL, max_rtt_us=0))


def test_a_card_twice_as_quick_needs_half_the_time_and_never_more_than_the_longest():
    assert expected_ms(ROW, QUERY) == 500
    assert expected_ms(ROW, QUERY._replace(paced=False)) == 1_000
    assert expected_ms(ROW._replace(speed=1), QUERY) == 10_000


def test_the_terms_by_hand():
    cost = expected_cost(ROW, QUERY)
    compute = 100 * 2 * 500
    transfer = 10 * (1024 * 8192 >> 10)
    assert cost == (compute, 0, transfer, (compute + transfer) * 100 // 1000, 3 * NANO_MS_PER_UNIT)
    assert cost.total == sum(cost)
    assert expected_cost(ROW, QUERY._replace(image=78)).image == 10 * (100 * 8192 >> 10)


def test_the_score_by_hand():
    going = 50 * 2 * 1_000
    others = 2 * (1000 - 666) + 3 * (1000 - 900) + 4 * 5
    assert score(ROW, QUERY) == 1000 * expected_cost(ROW, QUERY).total + going * others


def test_ties_go_by_hash_and_then_by_id():
    assert rank(ROW, QUERY) == (score(ROW, QUERY), mix(7 ^ 5), b"i" * 32)
    twin = ROW._replace(handle=4, id=b"j" * 32)
    assert [handle for _, handle in scan([twin, ROW], QUERY, 5)] == [3, 4]


def test_the_hash_is_the_published_one():
    """First outputs of SplitMix64 for the seeds 0 and 1234567, as its authors' reference code prints them."""
    gamma = 0x9E3779B97F4A7C15
    assert mix(gamma) == 0xE220A8397B1DCDAF
    assert mix(1234567 + gamma) == 6457827717110365317


def test_a_scan_takes_the_best_so_many():
    rows: list[Any] = [ROW._replace(handle=n, price=100 - n, id=bytes([n]) * 32) for n in range(5)]
    assert [handle for _, handle in scan(rows, QUERY._replace(w_speed=0), 3)] == [4, 3, 2]
    assert scan(rows, QUERY._replace(max_price=1), 3) == []


def test_the_largest_figures_there_can_be_stay_below_127_bits():
    row = ROW._replace(
        price=10**15, speed=1, failure=1000, link=8_589_935, opening=2**53, reputation=0, latency=1000, perf=0
    )
    query = QUERY._replace(
        slots=4096, work_ms=31 * 86_400_000, max_ms=31 * 86_400_000, paced=False, image=0, image_mib=2**20,
        moved_mib=2**28, waiting=10**15, reference=10**15, w_cost=1000, w_speed=1000, w_reliability=1000,
        w_latency=1000,
    )  # fmt: skip
    assert score(row, query) < 2**127
