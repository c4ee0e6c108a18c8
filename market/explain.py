"""Why nothing matched: how many offers fail each rule, how many fail only that one, and the nearest change.

A change is printed only after it was tried on the same book and found to match (reason 2 of the product).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from market.feasibility import Candidate, Limits, failures, is_feasible
from market.records import Requirements


class RuleCount(Struct, frozen=True, kw_only=True):
    """How one rule fared over the book: ``fails`` in all, ``only`` where nothing else stood in the way."""

    rule: str
    fails: int
    only: int


class Change(Struct, frozen=True, kw_only=True):
    """One relaxation that is known to match: ``field`` of the requirements or limits, and the value it needs."""

    rule: str
    field: str
    value: int | str | bool
    matches: int


class WhyNot(Struct, frozen=True, kw_only=True):
    """The answer to "why did nobody take my job?"."""

    offers: int
    matches: int
    rules: tuple[RuleCount, ...]
    closest: tuple[Change, ...]


def why_not(candidates: Iterable[Candidate], requirements: Requirements, limits: Limits) -> WhyNot:
    """Count failures per rule and find the smallest single change that would match.

    Runs in one pass over the book, plus one check per proposed change.
    """
    known = list(candidates)
    fails: Counter[str] = Counter()
    alone: dict[str, list[Candidate]] = {}
    matches = 0
    for candidate in known:
        broken = failures(candidate, requirements, limits)
        fails.update(broken)
        if not broken:
            matches += 1
        elif len(broken) == 1:
            alone.setdefault(broken[0], []).append(candidate)
    rules = tuple(
        RuleCount(rule=rule, fails=count, only=len(alone.get(rule, ()))) for rule, count in fails.most_common()
    )
    closest = [change for rule, found in alone.items() if (change := _relax(rule, found, requirements, limits))]
    return WhyNot(offers=len(known), matches=matches, rules=rules, closest=tuple(closest))


_NUMERIC: dict[str, tuple[str, Callable[[Candidate], int], bool]] = {
    "slots": ("slots", lambda c: c.free_slots, False),
    "cpu": ("cpu_milli", lambda c: c.offer.cpu_milli, False),
    "memory": ("memory_mib", lambda c: c.offer.memory_mib, False),
    "disk": ("disk_mib", lambda c: c.offer.disk_mib, False),
    "cuda": ("cuda_milli", lambda c: c.offer.cuda_milli, False),
    "reputation": ("min_reputation", lambda c: c.reputation, False),
    "price": ("max_price", lambda c: c.offer.price, True),
}
"""Rule → the field that relaxes it, the offer's own value, and whether the smallest (not the largest) is nearest."""


def _relax(rule: str, blocked: list[Candidate], requirements: Requirements, limits: Limits) -> Change | None:
    value: int | str | bool
    if rule in _NUMERIC:
        field, read, smallest = _NUMERIC[rule]
        value = (min if smallest else max)(read(candidate) for candidate in blocked)
        if rule == "slots" and value < 1:
            return None
    elif rule == "vram":
        field, value = _nearest_vram([candidate.offer.vram_mib for candidate in blocked], requirements)
    elif rule == "simulated":
        field, value = "allow_simulated", True
    elif rule == "gpu":
        field, value = "gpus", min(candidate.offer.gpu for candidate in blocked)
    elif rule == "region":
        field, value = "regions", min(candidate.offer.region for candidate in blocked)
    else:
        return None
    loosened, wider = _apply(field, value, requirements, limits)
    found = sum(is_feasible(candidate, loosened, wider) for candidate in blocked)
    return Change(rule=rule, field=field, value=value, matches=found) if found else None


def _nearest_vram(sizes: list[int], requirements: Requirements) -> tuple[str, int]:
    """The one rule with two ends: small cards ask for a lower minimum, and only large ones for a higher maximum."""
    too_small = [size for size in sizes if size < requirements.vram_mib]
    return ("vram_mib", max(too_small)) if too_small else ("vram_max_mib", min(sizes))


def _apply(
    field: str, value: int | str | bool, requirements: Requirements, limits: Limits
) -> tuple[Requirements, Limits]:
    if field == "max_price":
        return requirements, msgspec.structs.replace(limits, max_price=value)
    if field in ("gpus", "regions"):
        return msgspec.structs.replace(requirements, **{field: (*getattr(requirements, field), value)}), limits
    return msgspec.structs.replace(requirements, **{field: value}), limits
