"""Why not: the counts add up, and what is proposed is the nearest change and works."""

from __future__ import annotations

from typing import Any

import pytest

from market.ask import Ask
from market.explain import LEFT_ALONE, why_not
from market.feasibility import RULES
from market.knowledge import Known
from market.offer_book import OfferBook
from market.records import PaymentTerms, Requirements
from tests.fakes.samples import BUYER, NOW, a_signer, an_ask, offered_by, some_limits

Fields = dict[str, Any]
KNOWN = ("reputation", "rtt_us")


def a_book(*offers: Fields) -> OfferBook:
    """One offer of each of so many providers, with what is known of them."""
    book = OfferBook(max_skew_ms=60_000)
    for number, fields in enumerate(offers):
        signer = a_signer(f"s{number}")
        known = {name: value for name, value in fields.items() if name in KNOWN}
        book.know(signer.key, Known(**known))
        book.take(offered_by(signer, **{name: value for name, value in fields.items() if name not in known}), NOW)
    return book


def wanting(limits: Fields | None = None, **requirements: Any) -> Ask:
    return an_ask(requirements=Requirements(**requirements), limits=some_limits(**limits or {}))


def test_failures_are_counted_per_rule_and_alone():
    book = a_book({}, {"price": 300_000}, {"price": 300_000, "cpu_milli": 1}, {"cpu_milli": 2}, {"cpu_milli": 3})
    answer = why_not(book, wanting(cpu_milli=1_000), NOW)
    assert (answer.offers, answer.matches) == (5, 1)
    assert [(rule.rule, rule.fails, rule.only) for rule in answer.rules] == [("cpu", 3, 2), ("price", 2, 1)]


def test_an_empty_book_has_no_reasons():
    answer = why_not(a_book(), wanting(), NOW)
    assert (answer.offers, answer.matches, answer.rules, answer.closest, answer.suggestions) == (0, 0, (), (), ())


BROKEN: dict[str, tuple[Fields, Fields, Fields]] = {
    "settlement": ({}, {}, {"escrow": b"x" * 20}),
    "terms": ({"terms": PaymentTerms(tick_ms=3_600_000)}, {}, {}),
    "simulated": ({"simulated": True}, {}, {}),
    "gpu": ({}, {"gpus": ("H100",)}, {}),
    "vram": ({"vram_mib": 1}, {"vram_mib": 2}, {}),
    "slots": ({"free_slots": 1}, {"slots": 2}, {}),
    "cpu": ({"cpu_milli": 1}, {"cpu_milli": 2}, {}),
    "memory": ({"memory_mib": 1}, {"memory_mib": 2}, {}),
    "disk": ({"disk_mib": 1}, {"disk_mib": 2}, {}),
    "price": ({"price": 3}, {}, {"max_price": 2}),
    "region": ({"region": "us"}, {"regions": ("eu",)}, {}),
    "jurisdiction": ({"jurisdiction": "us"}, {"jurisdictions": ("eu",)}, {}),
    "runtime": ({}, {"runtime": "runsc"}, {}),
    "cuda": ({"cuda_milli": 11_000}, {"cuda_milli": 12_000}, {}),
    "driver": ({"driver": "470.1"}, {"driver": "535"}, {}),
    "interruption": ({"interruptible": True, "notice_ms": 9}, {}, {}),
    "reputation": ({"reputation": 1}, {"min_reputation": 2}, {}),
    "rtt": ({"rtt_us": 9}, {}, {"max_rtt_us": 8}),
    "allow": ({}, {}, {"allow": (BUYER.key,)}),
    "deny": ({}, {}, {"deny": (a_signer("s0").key,)}),
}


def test_every_rule_is_told_by_its_name():
    assert list(BROKEN) == [name for name, _ in RULES]
    for rule, (offer, requirements, limits) in BROKEN.items():
        answer = why_not(a_book(offer), wanting(limits, **requirements), NOW)
        assert [(one.rule, one.fails, one.only) for one in answer.rules] == [(rule, 1, 1)]


def test_what_has_expired_and_what_is_our_own_does_not_count():
    book = a_book({}, {"price": 300_000}, {"expires_at": NOW + 5})
    own = a_signer("s1").key
    assert why_not(book, wanting(), NOW + 6).offers == 2
    answer = why_not(book, wanting(), NOW + 6, without=own)
    assert (answer.offers, answer.matches, answer.rules) == (1, 1, ())


def test_who_is_left_alone_is_counted_apart_from_who_was_denied_and_is_no_proposal():
    book = a_book({}, {"price": 300_000}, {}, {"price": 250_000})
    denied, _, busy, dear = (a_signer(f"s{number}").key for number in range(4))
    limits = {"deny": (denied, busy, dear)}
    answer = why_not(book, wanting(limits), NOW, resting=[busy, dear])
    assert (answer.offers, answer.matches) == (4, 0)
    told = {(rule.rule, rule.fails, rule.only) for rule in answer.rules}
    assert told == {("price", 1, 1), ("deny", 1, 1), (LEFT_ALONE, 2, 1)}
    assert [change.value for change in answer.closest] == [300_000]
    assert why_not(book, wanting(limits), NOW, without=busy, resting=[busy, dear]).offers == 3


PROPOSALS: list[tuple[list[Fields], Fields, Fields, tuple[str, str, object]]] = [
    ([{"price": 300_000}, {"price": 250_000}], {}, {}, ("price", "max_price", 250_000)),
    ([{"cpu_milli": 1_000}, {"cpu_milli": 2_000}], {"cpu_milli": 3_000}, {}, ("cpu", "cpu_milli", 2_000)),
    ([{"memory_mib": 10}, {"memory_mib": 20}], {"memory_mib": 30}, {}, ("memory", "memory_mib", 20)),
    ([{"disk_mib": 10}, {"disk_mib": 20}], {"disk_mib": 30}, {}, ("disk", "disk_mib", 20)),
    ([{"cuda_milli": 11_000}, {"cuda_milli": 12_000}], {"cuda_milli": 12_800}, {}, ("cuda", "cuda_milli", 12_000)),
    ([{"reputation": 10}, {"reputation": 20}], {"min_reputation": 30}, {}, ("reputation", "min_reputation", 20)),
    ([{"vram_mib": 8_000}, {"vram_mib": 16_000}], {"vram_mib": 20_000}, {}, ("vram", "vram_mib", 16_000)),
    ([{"vram_mib": 80_000}, {"vram_mib": 48_000}], {"vram_max_mib": 24_000}, {}, ("vram", "vram_max_mib", 48_000)),
    (
        [{"vram_mib": 80_000}, {"vram_mib": 8_000}],
        {"vram_mib": 10_000, "vram_max_mib": 24_000},
        {},
        ("vram", "vram_mib", 8_000),
    ),
    ([{"simulated": True}], {}, {}, ("simulated", "allow_simulated", True)),
    ([{"gpu": "H100"}, {"gpu": "A100"}, {"gpu": "none"}], {"gpus": ("rtx4090",)}, {}, ("gpu", "gpus", "A100")),
    ([{"region": "us-east"}, {"region": ""}], {"regions": ("eu",)}, {}, ("region", "regions", "us-east")),
    ([{"jurisdiction": "us"}], {"jurisdictions": ("eu",)}, {}, ("jurisdiction", "jurisdictions", "us")),
    ([{"jurisdiction": ""}], {"jurisdictions": ("eu",)}, {}, ("jurisdiction", "jurisdictions", ())),
    ([{"driver": "470.1"}, {"driver": "525.60.13"}], {"driver": "535"}, {}, ("driver", "driver", "525.60.13")),
    ([{"driver": "beta"}], {"driver": "535"}, {}, ("driver", "driver", "")),
    ([{"interruptible": True}], {}, {}, ("interruption", "interruptible", True)),
    (
        [{"interruptible": True, "notice_ms": 5}, {"interruptible": True, "notice_ms": 9}],
        {"interruptible": True, "min_notice_ms": 30},
        {},
        ("interruption", "min_notice_ms", 9),
    ),
    ([{"rtt_us": 900}, {"rtt_us": 700}, {}], {}, {"max_rtt_us": 500}, ("rtt", "max_rtt_us", 700)),
    ([{}], {}, {"max_rtt_us": 500}, ("rtt", "max_rtt_us", 0)),
    ([{"free_slots": 1}], {"slots": 2}, {}, ("slots", "slots", 1)),
]


@pytest.mark.parametrize(("offers", "requirements", "limits", "change"), PROPOSALS)
def test_the_nearest_change_is_proposed(
    offers: list[Fields], requirements: Fields, limits: Fields, change: tuple[str, str, Any]
):
    answer = why_not(a_book(*offers), wanting(limits, **requirements), NOW)
    assert [(one.rule, one.field, one.value, one.matches) for one in answer.closest] == [(*change, 1)]
    assert [(one.changes, one.matches) for one in answer.suggestions] == [(answer.closest, 1)]


@pytest.mark.parametrize(
    ("offer", "requirements", "limits"),
    [
        ({"free_slots": 0}, {}, {}),
        ({"gpu": "none"}, {"gpus": ("H100",)}, {}),
        ({}, {"runtime": "runsc"}, {}),
        ({}, {}, {"escrow": b"x" * 20}),
        ({}, {}, {"allow": (BUYER.key,)}),
        ({"price": 300_000}, {"runtime": "runsc"}, {}),
    ],
)
def test_what_is_not_a_matter_of_degree_is_not_proposed(offer: Fields, requirements: Fields, limits: Fields):
    answer = why_not(a_book(offer), wanting(limits, **requirements), NOW)
    assert (answer.matches, answer.closest, answer.suggestions) == (0, (), ())


def test_a_proposal_says_how_many_more_would_match():
    book = a_book({"cpu_milli": 2_000}, {"cpu_milli": 2_000}, {"cpu_milli": 500}, {})
    answer = why_not(book, wanting(cpu_milli=3_000), NOW)
    assert answer.matches == 1
    assert [(one.field, one.value, one.matches) for one in answer.closest] == [("cpu_milli", 2_000, 2)]


def test_the_model_most_offers_have_is_proposed():
    book = a_book({"gpu": "Tesla T4"}, {"gpu": "NVIDIA L4"}, {"gpu": "NVIDIA L4"}, {"gpu": "none"})
    answer = why_not(book, wanting(gpus=("H100",)), NOW)
    assert [(one.value, one.matches) for one in answer.closest] == [("NVIDIA L4", 2)]


def test_the_smallest_change_comes_first_and_a_card_that_computes_nothing_last():
    book = a_book({"price": 400_000}, {"cpu_milli": 2_700}, {"simulated": True}, {"region": "us"})
    answer = why_not(book, wanting(cpu_milli=3_000, regions=("eu",)), NOW)
    assert [one.field for one in answer.closest] == ["cpu_milli", "max_price", "regions", "allow_simulated"]


def test_where_no_single_change_helps_those_are_proposed_that_help_together():
    """Of the offers that break fewest rules, by the one that needs least."""
    book = a_book(
        {"price": 300_000, "cpu_milli": 1_000},
        {"price": 210_000, "cpu_milli": 2_900},
        {"price": 205_000, "cpu_milli": 2_800, "region": "us"},
        {"price": 209_000, "cpu_milli": 2_950, "free_slots": 0},
    )
    answer = why_not(book, wanting(cpu_milli=3_000, regions=("eu",)), NOW)
    assert answer.closest == ()
    [suggestion] = answer.suggestions
    assert [(one.rule, one.field, one.value) for one in suggestion.changes] == [
        ("cpu", "cpu_milli", 2_900),
        ("price", "max_price", 210_000),
    ]
    assert suggestion.matches == 1


def test_a_machine_that_may_be_taken_back_sooner_needs_two_changes_of_one_rule():
    book = a_book({"interruptible": True, "notice_ms": 7})
    answer = why_not(book, wanting(min_notice_ms=30), NOW)
    assert answer.closest == ()
    [suggestion] = answer.suggestions
    assert [(one.field, one.value) for one in suggestion.changes] == [("interruptible", True), ("min_notice_ms", 7)]


def test_words_that_found_no_place_are_told_apart_all_the_same():
    """More regions than there are bits: the last of them share one."""
    book = a_book(*({"region": f"r{number}"} for number in range(80)))
    answer = why_not(book, wanting(regions=("r3", "r79")), NOW)
    assert (answer.matches, [(one.rule, one.fails) for one in answer.rules]) == (2, [("region", 78)])
    [change] = answer.closest
    assert why_not(book, wanting(regions=("r3", "r79", change.value)), NOW).matches == 2 + change.matches
