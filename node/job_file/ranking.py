"""How a job wants its offers ranked: a strategy by name, or four weights of its own; and what weights mean in words."""

from __future__ import annotations

import difflib
import re

from market.errors import InvalidRequest
from market.strategies import CUSTOM, STRATEGIES, TERMS, Weights
from node.job_file.document import Mapping, Node, Scalar, Sequence
from node.job_file.report import Report

SHORT_FORM = "strategy.weights"
"""Where the weights are kept that stand in the place of a strategy's name."""
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)
_MAX_WEIGHT = 1000
_MAX_PAIRS = 16
_ELSEWHERE = {
    "cheapest": "lowest_cost",
    "price": "lowest_cost",
    "cost": "lowest_cost",
    "fastest": "best_performance",
    "performance": "best_performance",
    "speed": "best_performance",
    "reliable": "high_availability",
    "reliability": "high_availability",
}
"""What people call the strategies elsewhere."""


def read_strategy(report: Report, path: str, node: Node) -> None:
    """A name, or weights in its place."""
    if isinstance(node, Mapping):
        read_weights(report, SHORT_FORM, node)
        if SHORT_FORM in report.values:
            report.values[path] = CUSTOM
    elif isinstance(node, Scalar):
        report.read(path, node, parse_strategy)
    else:
        report.add("wrong_type", path, node.mark, f"'{path}' takes one name", report.example(path, node))


def parse_strategy(text: str) -> str:
    """The name of a strategy.

    Raises:
        InvalidRequest: no such name; the fix is the nearest one.
    """
    if text == CUSTOM or text in STRATEGIES:
        return text
    known = [*STRATEGIES, CUSTOM]
    near = _ELSEWHERE.get(text) or next(iter(difflib.get_close_matches(text[:64], known, 1, 0.6)), "")
    fix = f"did you mean '{near}'?" if near else f"one of {', '.join(known)}"
    raise InvalidRequest(f"'{text}' is not a strategy", code="invalid_value", fix=fix)


def read_weights(report: Report, path: str, node: Node) -> None:
    """``{cost: 60, speed: 40}``, or ``cost=60,speed=40`` as one word."""
    pairs = _pairs(node)
    if pairs is None:
        report.add("wrong_type", path, node.mark, f"'{path}' takes weights by name", report.example("weights", node))
        return
    found: dict[str, int] = {}
    wrong = False
    for name, value in pairs:
        wrong |= not _take(report, path, found, name, value)
    weights = tuple(found.get(term, 0) for term in TERMS)
    if not wrong and not any(weights):
        report.add("invalid_value", path, node.mark, "all weights are 0", report.example("weights", node))
    elif not wrong:
        report.values[path] = weights


def _pairs(node: Node) -> list[tuple[Scalar, Node]] | None:
    """Names and values with their places; None when these are no weights."""
    if isinstance(node, Mapping):
        return list(node.entries)[:_MAX_PAIRS]
    if isinstance(node, Sequence) and not all(isinstance(item, Scalar) for item in node.items):
        return None
    items = [node] if isinstance(node, Scalar) else [item for item in node.items if isinstance(item, Scalar)]
    pairs: list[tuple[Scalar, Node]] = []
    for item in items:
        for part in item.text.split(",")[:_MAX_PAIRS]:
            name, equals, value = part.partition("=")
            if not equals:
                return None
            pairs.append((Scalar(name.strip(), item.mark), Scalar(value.strip(), item.mark, plain=False)))
    return pairs[:_MAX_PAIRS]


def _take(report: Report, path: str, found: dict[str, int], name: Scalar, value: Node) -> bool:
    """Keep one weight, or report what is wrong with it."""
    term = name.text[:64]
    if term not in TERMS:
        near = difflib.get_close_matches(term, TERMS, 1, 0.6)
        fix = f"did you mean '{near[0]}'?" if near else f"the weights are {', '.join(TERMS)}"
        report.add("unknown_key", f"{path}.{term}", name.mark, f"unknown weight '{term}'", fix)
    elif term in found:
        report.add("duplicate_key", f"{path}.{term}", name.mark, f"'{term}' is given twice", "keep one of them")
    elif not isinstance(value, Scalar) or (weight := _weight(value.text)) is None:
        fix = f"a whole number from 0 to {_MAX_WEIGHT}"
        report.add("invalid_value", f"{path}.{term}", value.mark, f"'{term}' is not a weight", fix)
    else:
        found[term] = weight
        return True
    return False


def _weight(text: str) -> int | None:
    number = int(text) if _NUMBER.fullmatch(text) else -1
    return number if 0 <= number <= _MAX_WEIGHT else None


def describe_weights(weights: Weights) -> str:
    """What weights mean beside each other, in one sentence; the formula is in :mod:`market.strategies`."""
    cost, speed, reliability, latency = weights
    others = (
        ("10 more points of speed, of 100", speed),
        ("10 more points of reliability, of 100", reliability),
        ("100 ms less round trip", latency),
    )
    counted = [(what, weight) for what, weight in others if weight]
    if not counted:
        return "only the expected cost counts"
    if not cost:
        return "the cost does not count; " + ", ".join(f"{what}: {weight}" for what, weight in counted)
    worth = "; ".join(f"{what}: {_percent(10 * weight, cost)}" for what, weight in counted)
    return f"what may cost more, as a share of the going price: {worth}"


def _percent(part: int, whole: int) -> str:
    """``part`` per ``whole`` as percent with one decimal, by whole numbers."""
    tenths = (10 * part + whole // 2) // whole
    return f"{tenths // 10}.{tenths % 10} %"
