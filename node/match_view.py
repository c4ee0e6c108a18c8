"""What an auction saw and how it chose, as plain data for its owner: events, plans and explanations. Pure."""

from __future__ import annotations

from typing import Any

from market.ask import Ask
from market.explain import Change, WhyNot
from market.lease import LeaseState
from market.matching import Match, Shortlist
from market.strategies import CUSTOM, STRATEGIES, TERMS, Weights
from node.control import money, price_view


def describe_match(found: Shortlist, reasons: WhyNot, ask: Ask) -> dict[str, Any]:
    """The ``matching`` event: who fits and what each is expected to cost, and by which rule the others do not fit."""
    return {
        **describe_why(reasons.offers, reasons),
        "strategy": strategy_name(ask.weights),
        "weights": dict(zip(TERMS, ask.weights, strict=True)),
        "going_price": price_view(found.query.reference),
        "candidates": [_candidate(rank, match) for rank, match in enumerate(found.matches, 1)],
    }


def describe_quote(match: Match) -> dict[str, Any]:
    """The ``quoted`` event: who would take less than its tag, and how much."""
    offer = match.offer.record
    return {
        "provider": offer.provider.hex(),
        "machine": offer.machine,
        "price": price_view(match.price),
        "tag": price_view(offer.price),
    }


def describe_why(offers: int, reasons: WhyNot) -> dict[str, Any]:
    """How many offers there are and fit, by which rule the others do not, and the nearest changes that would match."""
    return {
        "offers": offers,
        "matches": reasons.matches,
        "rejected": [{"rule": r.rule, "fails": r.fails, "only": r.only} for r in reasons.rules],
        "closest": [_change(change) for change in reasons.closest],
        "suggestions": [
            {"matches": one.matches, "changes": [_change(change) for change in one.changes]}
            for one in reasons.suggestions
        ],
    }


def strategy_name(weights: Weights) -> str:
    """The strategy that these weights are, ``custom`` for any other."""
    return next((name for name, known in STRATEGIES.items() if known == weights), CUSTOM)


def _change(change: Change) -> dict[str, Any]:
    value = list(change.value) if isinstance(change.value, tuple) else change.value
    return {"rule": change.rule, "field": change.field, "value": value}


def _candidate(rank: int, match: Match) -> dict[str, Any]:
    offer, row, query, cost = match.offer.record, match.row, match.query, match.cost
    image_mib = 0 if query.image in row.images else query.image_mib
    risked = LeaseState(price=match.price, slots=query.slots, max_duration_ms=query.max_ms, terms=offer.terms, since=0)
    return {
        "rank": rank,
        "provider": offer.provider.hex(),
        "machine": offer.machine,
        "gpu": offer.gpu,
        "simulated": offer.simulated,
        "price": price_view(match.price),
        "expected_cost": money(match.expected_cost),
        "cost": {term: money(units) for term, units in cost._asdict().items()},
        "expected_ms": match.expected_ms,
        "needed_ms": match.needed_ms,
        "image_ms": image_mib * row.link >> 10,
        "transfer_ms": query.moved_mib * row.link >> 10,
        "cap": money(match.cap),
        "exposure": money(risked.exposure),
        # A score has up to 127 bits, which is more than JSON readers keep of a number.
        "score": str(match.score),
        "speed": row.speed,
        "performance": row.perf,
        "reputation": row.reputation,
        "latency_ms": row.latency,
        "failure_permille": row.failure,
    }
