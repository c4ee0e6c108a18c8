"""Explanations that are true: counts by the rules themselves, and changes that let through what they say."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from market.ask import Ask
from market.explain import WhyNot, why_not
from market.feasibility import RULES, failures
from market.knowledge import Known
from market.matching import candidate_of, shortlist
from market.offer_book import OfferBook
from market.records import Requirements
from market.relaxed import Change, relaxed
from tests.fakes.samples import NOW, a_signer, an_ask, offered_by, some_limits

SELLERS = [a_signer(f"p{number}") for number in range(12)]
FEW = st.sampled_from([0, 1, 2, 3])
OFFERS = st.fixed_dictionaries(
    {
        "free_slots": FEW,
        "price": FEW,
        "vram_mib": FEW,
        "cpu_milli": FEW,
        "memory_mib": FEW,
        "disk_mib": FEW,
        "cuda_milli": FEW,
        "gpu": st.sampled_from(["A100", "H100", "none"]),
        "region": st.sampled_from(["", "eu-west", "us"]),
        "jurisdiction": st.sampled_from(["", "de", "us"]),
        "driver": st.sampled_from(["", "470.1", "535.104.05"]),
        "interruptible": st.booleans(),
        "notice_ms": FEW,
        "simulated": st.sampled_from([False, False, True]),
        "runtimes": st.sampled_from([("runc",), ("runc",), ("runc", "runsc")]),
        "total_slots": st.just(4),
    }
)
KNOWN = st.builds(Known, reputation=st.sampled_from([0, 500, 1000]), rtt_us=FEW)
WISHES: dict[str, st.SearchStrategy[Any]] = {
    "slots": st.just(2),
    "vram_mib": FEW,
    "vram_max_mib": FEW,
    "cpu_milli": FEW,
    "memory_mib": FEW,
    "disk_mib": FEW,
    "cuda_milli": FEW,
    "gpus": st.sampled_from([("a100",), ("h100", "none")]),
    "regions": st.sampled_from([("eu",), ("us",)]),
    "jurisdictions": st.sampled_from([("eu",), ("us",)]),
    "driver": st.sampled_from(["470", "535"]),
    "runtime": st.just("runsc"),
    "interruptible": st.just(True),
    "min_notice_ms": FEW,
    "min_reputation": st.sampled_from([1, 500]),
    "allow_simulated": st.just(True),
}
LIMITS = st.builds(
    some_limits,
    max_price=FEW,
    max_rtt_us=st.sampled_from([0, 0, 1, 2]),
    deny=st.sampled_from([(), (), (SELLERS[0].key,)]),
)


@st.composite
def books(draw: st.DrawFn) -> OfferBook:
    book = OfferBook(max_skew_ms=60_000)
    for signer, fields in zip(SELLERS, draw(st.lists(OFFERS, max_size=len(SELLERS))), strict=False):
        book.know(signer.key, draw(KNOWN))
        book.take(offered_by(signer, **fields), NOW)
    return book


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """Few wishes each, so that the rules are often broken one at a time."""
    wishes = draw(st.sets(st.sampled_from(sorted(WISHES)), max_size=4))
    return an_ask(
        requirements=Requirements(**{wish: draw(WISHES[wish]) for wish in sorted(wishes)}), limits=draw(LIMITS)
    )


def fitting(book: OfferBook, ask: Ask) -> int:
    """How many offers fit, by the rules in words."""
    candidates = [candidate_of(book, offer) for offer in book.live(NOW)]
    return sum(not failures(one, ask.requirements, ask.limits) for one in candidates)


@settings(max_examples=200, deadline=None)
@given(books(), asks())
def test_the_counts_are_those_of_the_rules(book: OfferBook, ask: Ask):
    answer = why_not(book, ask, NOW)
    candidates = [candidate_of(book, offer) for offer in book.live(NOW)]
    broken = [[name for name, holds in RULES if not holds(one, ask.requirements, ask.limits)] for one in candidates]
    assert answer.offers == len(candidates)
    assert answer.matches == sum(not names for names in broken)
    assert {rule.rule: rule.fails for rule in answer.rules} == Counter(name for names in broken for name in names)
    for rule in answer.rules:
        assert rule.only == broken.count([rule.rule])


@settings(max_examples=300, deadline=None)
@given(books(), asks())
def test_what_is_proposed_matches_on_the_same_book(book: OfferBook, ask: Ask):
    answer = why_not(book, ask, NOW)
    for suggestion in answer.suggestions:
        looser = relaxed(ask, suggestion.changes)
        assert fitting(book, looser) == answer.matches + suggestion.matches > answer.matches, suggestion
        assert shortlist(book, looser, now=NOW).matches
    assert answer.closest == tuple(one.changes[0] for one in answer.suggestions if len(one.changes) == 1)
    assert len({rule.rule for one in answer.suggestions for rule in one.changes[:1]}) >= len(answer.closest)


@settings(max_examples=200, deadline=None)
@given(books(), asks())
def test_no_smaller_change_of_a_number_would_do(book: OfferBook, ask: Ask):
    """For every number the nearest change is found by trying them all, from near to far."""
    answer = why_not(book, ask, NOW)
    found = {change.field: change for change in answer.closest}
    for rule, field in (
        ("cpu", "cpu_milli"), ("memory", "memory_mib"), ("disk", "disk_mib"), ("cuda", "cuda_milli"),
        ("vram", "vram_mib"), ("slots", "slots"), ("price", "max_price"),
    ):  # fmt: skip
        start = ask.limits.max_price if field == "max_price" else getattr(ask.requirements, field)
        steps = range(start + 1, 5) if field == "max_price" else range(start - 1, -1, -1)
        tried = [value for value in steps if value >= (1 if field == "slots" else 0)]
        nearest = next((value for value in tried if _would_match(book, ask, rule, field, value) > answer.matches), None)
        assert (found[field].value if field in found else None) == nearest, field


@settings(max_examples=300, deadline=None)
@given(books(), asks())
def test_as_few_rules_as_possible_are_given_up(book: OfferBook, ask: Ask):
    answer = why_not(book, ask, NOW)
    """Rules that nothing is proposed for stand in the way, as do slots that nobody has free."""
    fixed = {"settlement", "terms", "runtime", "allow", "deny"}
    broken = [set(failures(candidate_of(book, offer), ask.requirements, ask.limits)) for offer in book.live(NOW)]
    mendable = [
        names
        for names, offer in zip(broken, book.live(NOW), strict=True)
        if names
        and not names & fixed
        and not ("slots" in names and not offer.record.free_slots)
        and not ("gpu" in names and offer.record.gpu == "none")
    ]
    fewest = min(map(len, mendable), default=0)
    assert bool(answer.suggestions) == bool(mendable)
    for suggestion in answer.suggestions:
        assert len({change.rule for change in suggestion.changes}) == (1 if answer.closest else fewest)


def _would_match(book: OfferBook, ask: Ask, rule: str, field: str, value: int) -> int:
    return fitting(book, relaxed(ask, [Change(rule=rule, field=field, value=value, matches=0)]))


def test_the_answer_is_plain_data():
    answer = why_not(OfferBook(max_skew_ms=0), an_ask(), NOW)
    assert answer == WhyNot(offers=0, matches=0, rules=(), closest=())
