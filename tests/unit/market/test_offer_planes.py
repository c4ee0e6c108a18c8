"""Codes and planes: what they leave out cannot fit, whatever the numbers."""

from __future__ import annotations

import random

import pytest

from market.offer_planes import LAST, Layer, Spot, level
from market.offer_row import ALL, Query, Row, fits
from tests.unit.market.test_offer_index import a_query, a_row


def a_layer(*rows: Row) -> Layer:
    kinds: dict[tuple[int, int, int], int] = {}
    spots = []
    for row in rows:
        spot = Spot(row, [])
        spot.free = row.free
        spot.code(kinds)
        spots.append(spot)
    return Layer(spots, kinds)


def handles(layer: Layer, bits: int) -> list[int]:
    return [spot.row.handle for place, spot in enumerate(layer.spots) if bits >> place & 1]


def test_codes_never_fall_and_fit_into_a_byte():
    luck = random.Random(1)
    values = sorted({*range(5_000), *(luck.randrange(2 ** luck.randrange(1, 65)) for _ in range(5_000)), 2**64})
    codes = [level(value) for value in values]
    assert codes == sorted(codes)
    assert (codes[0], codes[-1] < LAST) == (0, True)
    assert [level(value) for value in range(16)] == list(range(16))


def test_queries_and_rows_lie_as_the_planes_read_them():
    assert Query._fields[:6] == ("tie", "now", "classes", "venue", "max_price", "slots")
    assert Query._fields[6:16] == (
        *("vram", "vram_max", "cpu", "memory", "disk", "cuda", "driver", "notice", "reputation", "max_rtt_us"),
    )
    assert Query._fields[16:21] == ("regions", "jurisdictions", "runtimes", "barred", "allow")
    assert Row._fields[8:17] == (
        *("vram", "cpu", "memory", "disk", "cuda", "driver", "notice", "reputation", "rtt_us"),
    )


def test_the_cheapest_row_has_the_highest_bit():
    layer = a_layer(a_row(1, price=300), a_row(2, price=100), a_row(3, price=200))
    assert [spot.row.handle for spot in layer.spots] == [1, 3, 2]
    assert layer.sieve(a_query()) == 0b111


@pytest.mark.parametrize(
    ("changes", "wish"),
    [
        ({"vram": 10}, {"vram": 12}),
        ({"vram": 90_000}, {"vram_max": 48_000}),
        ({"cpu": 500}, {"cpu": 1_000}),
        ({"memory": 500}, {"memory": 1_000}),
        ({"disk": 500}, {"disk": 1_000}),
        ({"cuda": 11_000}, {"cuda": 12_400}),
        ({"driver": 5}, {"driver": 9}),
        ({"notice": 0}, {"notice": 60_000}),
        ({"reputation": 300}, {"reputation": 800}),
        ({"rtt_us": 90_000}, {"max_rtt_us": 20_000}),
        ({"rtt_us": 0}, {"max_rtt_us": 20_000}),
        ({"venue": 2}, {"venue": 1}),
        ({"region": 2}, {"regions": 5}),
        ({"region": 0}, {"regions": ALL}),
        ({"jurisdiction": 2}, {"jurisdictions": 1}),
        ({"jurisdiction": 0}, {"jurisdictions": ALL}),
        ({"runtimes": 1}, {"runtimes": 3}),
        ({"flags": 1}, {"barred": 1}),
        ({"klass": 1}, {"classes": (0, 2)}),
        ({"free": 1}, {"slots": 2}),
        ({"free": 17}, {"slots": 20}),
        ({"provider": 7}, {"allow": frozenset({8})}),
    ],
)
def test_each_rule_leaves_out_who_is_far_from_it(changes: dict[str, int], wish: dict[str, object]):
    fitting = {"vram": 24_000, "notice": 2**31 - 1, "driver": 9, "rtt_us": 9_000, "runtimes": 3, "free": 20}
    good, bad = a_row(8, **fitting), a_row(9, **{**fitting, **changes})
    query = a_query(**wish)
    assert (fits(good, query), fits(bad, query)) == (True, False)
    assert handles(a_layer(good, bad), a_layer(good, bad).sieve(query)) == [8]


def test_what_is_taken_and_given_is_seen_by_planes_made_before():
    layer = a_layer(a_row(1, free=4), a_row(2, price=200, free=20))
    counts = (1, 2, 4, 5, 17, 20)
    before = [layer.sieve(a_query(slots=slots)) for slots in counts]
    assert [handles(layer, bits) for bits in before] == [[2, 1], [2, 1], [2, 1], [2], [2], [2]]
    layer.set_free(1, 4, 1)
    layer.set_free(0, 20, 5)
    assert [handles(layer, layer.sieve(a_query(slots=slots))) for slots in counts] == [[2, 1], [2], [2], [2], [], []]
    layer.set_free(1, 1, 4)
    layer.set_free(0, 5, 20)
    assert [layer.sieve(a_query(slots=slots)) for slots in counts] == before


def test_wishes_without_end_do_not_fill_the_memory():
    layer = a_layer(*(a_row(handle) for handle in range(4)))
    for number in range(5_000):
        layer.sieve(a_query(cpu=number, regions=number | 1 << 63, classes=(0, number + 1)))
    kept = [*layer._numbers, layer._classes, layer._regions, layer._kinds]
    assert max(len(planes) for planes in kept) <= 4_096
    assert len(layer._regions) <= 256
