"""Words of a query as numbers: what a size, a version or a share means."""

from __future__ import annotations

import pytest

from market.errors import InvalidRequest
from market.feasibility import FOREVER_MS
from market.knowledge import Known
from node.offer_fields import FIELDS, OTHER_NAMES, Span
from node.views import offer_view
from tests.fakes.samples import SELLER, an_offer


@pytest.mark.parametrize(
    ("field", "word", "low", "high"),
    [
        ("vram", "24GB", 22_888, 24_576),
        ("vram", "24GiB", 24_576, 24_576),
        ("vram", "0.5GB", 476, 512),
        ("memory", "32GiB", 32_768, 32_768),
        ("memory", "1MB", 1, 1),
        ("cpu", "0.5", 500, 500),
        ("price", "0.36/h", 100_000, 100_000),
        ("driver", "535", 535_000_000, 535_999_999),
        ("driver", "535.104", 535_104_000, 535_104_999),
        ("driver", "535.104.05", 535_104_005, 535_104_005),
        ("cuda", "12", 12_000, 12_999),
        ("cuda", "12.4", 12_400, 12_400),
        ("reputation", "0.95", 950, 950),
        ("reputation", "95%", 950, 950),
        ("reputation", "1", 1000, 1000),
        ("rtt", "50ms", 50_000, 50_000),
        ("notice", "2m", 120_000, 120_000),
        ("net", "100Mbit", 100, 100),
        ("net", "1.5 Gbps", 1_500, 1_500),
        ("simulated", "No", 0, 0),
        ("free", "2", 2, 2),
    ],
)
def test_words_are_spans(field: str, word: str, low: int, high: int) -> None:
    span = FIELDS[field].span
    assert span is not None
    assert span(word) == Span(low, high)


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("vram", "24"),
        ("memory", "32"),
        ("cpu", "many"),
        ("price", "0.36"),
        ("driver", "535b"),
        ("cuda", "12.4.1"),
        ("reputation", "1.001"),
        ("reputation", "101%"),
        ("rtt", "50"),
        ("net", "100"),
        ("simulated", "maybe"),
        ("free", "-1"),
        ("free", "٣"),
    ],
)
def test_words_that_mean_nothing_say_what_would(field: str, word: str) -> None:
    span = FIELDS[field].span
    assert span is not None
    with pytest.raises(InvalidRequest) as error:
        span(word)
    assert error.value.fix


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.span])
def test_every_example_can_be_read(name: str) -> None:
    span = FIELDS[name].span
    assert span is not None
    assert span(FIELDS[name].example).low >= 0


def test_hints_name_fields_that_are_there() -> None:
    assert set(OTHER_NAMES.values()) <= set(FIELDS)
    assert not set(OTHER_NAMES) & set(FIELDS)


def test_what_an_offer_does_not_say_is_none() -> None:
    plain = an_offer(cuda_milli=0, region="")
    view = offer_view(SELLER.sign(plain), free_slots=2, mine=False)
    silent = {name for name, field in FIELDS.items() if field.read(view) is None}
    assert silent == {"region", "jurisdiction", "cuda", "driver", "rtt", "speed", "net"}


def test_an_owner_who_never_takes_a_machine_back_gives_the_longest_notice() -> None:
    kept, taken = (
        offer_view(SELLER.sign(an_offer(interruptible=given, notice_ms=60_000)), free_slots=2, mine=False)
        for given in (False, True)
    )
    assert (FIELDS["notice"].read(kept), FIELDS["notice"].read(taken)) == (FOREVER_MS, 60_000)


def test_local_facts_are_read_from_what_is_known() -> None:
    view = offer_view(SELLER.sign(an_offer()), free_slots=2, mine=False, known=Known(reputation=900), rtt_us=1_500)
    assert (FIELDS["reputation"].read(view), FIELDS["rtt"].read(view)) == (900, 1_500)
