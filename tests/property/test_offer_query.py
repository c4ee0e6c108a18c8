"""The query language beside a predicate written out by hand, over random offers and random queries."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from market.errors import InvalidRequest
from market.feasibility import in_jurisdictions, same_model, within_region
from market.knowledge import Known
from node.control import OfferView
from node.offer_query import OfferQuery, parse_query
from node.views import offer_view
from tests.fakes.samples import SELLER, an_offer

MODELS = ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090", "none")
REGIONS = ("", "eu", "eu-west", "us-east")
COUNTRIES = ("", "de", "is", "us")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS: dict[str, tuple[str, Callable[[int], str]]] = {
    "cpu": ("cpu_milli", lambda value: f"{value / 1000:g}"),
    "memory": ("memory_mib", lambda value: f"{value}MiB"),
    "disk": ("disk_mib", lambda value: f"{value}MiB"),
    "vram": ("vram_mib", lambda value: f"{value}MiB"),
    "free": ("free_slots", str),
    "slots": ("total_slots", str),
    "reputation": ("reputation", lambda value: f"{value / 1000:g}"),
}
WORDS: dict[str, tuple[str, Callable[[Any, str], bool], tuple[str, ...]]] = {
    "gpu": ("gpu", same_model, ("A100", "H100", "RTX4090", "rtx-4090", "none", "RTX 4090")),
    "region": ("region", within_region, ("eu", "eu-west", "us")),
    "jurisdiction": ("jurisdiction", lambda country, word: in_jurisdictions(country, (word,)), ("eu", "eea", "us")),
    "machine": ("machine", operator.eq, ("m0", "m1")),
}

Predicate = Callable[[OfferView], bool]


@st.composite
def offers(draw: st.DrawFn) -> OfferView:
    number = st.integers(1, 6).map(lambda value: value * 1000)
    total = draw(st.integers(1, 5))
    record = an_offer(
        gpu=draw(st.sampled_from(MODELS)),
        region=draw(st.sampled_from(REGIONS)),
        jurisdiction=draw(st.sampled_from(COUNTRIES)),
        machine=draw(st.sampled_from(("m0", "m1"))),
        total_slots=total,
        free_slots=draw(st.integers(0, total)),
        **{name: draw(number) for name in ("cpu_milli", "memory_mib", "disk_mib", "vram_mib")},
    )
    known = Known(reputation=draw(st.sampled_from((800, 900, 1000))))
    return offer_view(SELLER.sign(record), free_slots=record.free_slots, mine=False, known=known)


@st.composite
def terms(draw: st.DrawFn) -> tuple[str, Predicate]:
    """A term as text, and the same condition as a function."""
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(NUMBERS)))
        key, write = NUMBERS[name]
        values = st.integers(1, 6) if name in ("free", "slots") else st.sampled_from(range(1000, 6001, 1000))
        if name == "reputation":
            values = st.sampled_from((800, 900, 1000))
        if draw(st.booleans()):
            low, high = sorted((draw(values), draw(values)))
            sign = draw(st.sampled_from(("=", "!=")))
            return f"{name}{sign}{write(low)}..{write(high)}", lambda o: (low <= o[key] <= high) is (sign == "=")  # type: ignore[literal-required]
        sign, value = draw(st.sampled_from(sorted(SIGNS))), draw(values)
        return f"{name} {sign}{write(value)}", lambda o: SIGNS[sign](o[key], value)  # type: ignore[literal-required]
    name = draw(st.sampled_from(sorted(WORDS)))
    key, same, words = WORDS[name]
    chosen = draw(st.lists(st.sampled_from(words), min_size=1, max_size=3))
    sign = draw(st.sampled_from(("=", "!=")))
    text = ",".join(f'"{word}"' if " " in word else word for word in chosen)
    return (
        f"{name}{sign}{text}",
        lambda o: (
            (
                bool(o[key]) and any(same(o[key], word) for word in chosen)  # type: ignore[literal-required]
            )
            is (sign == "=")
        ),
    )


@given(offer=offers(), chosen=st.lists(terms(), max_size=4))
def test_a_query_agrees_with_the_predicate_it_stands_for(offer: OfferView, chosen: list[tuple[str, Predicate]]) -> None:
    query = parse_query("  ".join(text for text, _ in chosen))
    assert query.wants(offer) is all(holds(offer) for _, holds in chosen)
    again = parse_query(str(query))
    assert again == query
    assert again.wants(offer) is query.wants(offer)


@given(text=st.text(max_size=60) | st.text(alphabet='gpuvram=<>!.,"/ 0123456789GBh', max_size=60))
@example(text="vram=..")
@example(text="vram=24GB..")
@example(text='gpu="')
def test_any_text_is_a_query_or_a_refusal(text: str) -> None:
    read = _read(text)
    if isinstance(read, InvalidRequest):
        assert read.code == "bad_query"
        assert read.where.startswith("query, column ")
    else:
        assert parse_query(str(read)) == read


def _read(text: str) -> OfferQuery | InvalidRequest:
    try:
        return parse_query(text)
    except InvalidRequest as error:
        return error
