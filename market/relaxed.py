"""What a job could give way in: one change to its requirements or limits, and how to make it.

Not everything is a matter of degree: whom to trust, on which chain, on what terms and in which sandbox are not for a
program to propose. Only where one of them is plainly mistyped is the right spelling named.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from market.ask import Ask
from market.feasibility import Limits
from market.records import Requirements

Value = int | str | bool | tuple[str, ...]


class Change(Struct, frozen=True, kw_only=True):
    """One relaxation.

    Attributes:
        rule: the rule of :data:`market.feasibility.RULES` that it is about.
        field: of the requirements or of the limits.
        value: what the field must be. Of a list of words the one that is missing, or an empty list: any. Of keys all
            of them, in hex.
        matches: how many offers would fit that do not fit now, if this alone were changed; 0 where it takes more.
    """

    rule: str
    field: str
    value: Value
    matches: int


def apply(changes: Iterable[Change], requirements: Requirements, limits: Limits) -> tuple[Requirements, Limits]:
    """Requirements and limits with the changes made."""
    for change in changes:
        if change.field == "allow":
            limits = replace(limits, allow=tuple(map(bytes.fromhex, _words(change.value))))
            continue
        if change.field in Limits.__struct_fields__:
            limits = replace(limits, **{change.field: change.value})
            continue
        value, old = change.value, getattr(requirements, change.field)
        if isinstance(old, tuple) and isinstance(value, str):
            value = (*old, value)
        requirements = replace(requirements, **{change.field: value})
    return requirements, limits


def _words(value: Value) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else ()


def relaxed(ask: Ask, changes: Iterable[Change]) -> Ask:
    """An ask with the changes made."""
    requirements, limits = apply(changes, ask.requirements, ask.limits)
    return replace(ask, requirements=requirements, limits=limits)


def size(changes: Iterable[Change], ask: Ask) -> int:
    """How much is given up, permille: of a number its share; a word, or a wish dropped, counts as all of it."""
    return sum(_size(change, ask) for change in changes)


def _size(change: Change, ask: Ask) -> int:
    if change.rule == "simulated":
        # A card that computes nothing is the last thing to propose.
        return 1_000_000
    owner = ask.limits if change.field in Limits.__struct_fields__ else ask.requirements
    old, new = getattr(owner, change.field), change.value
    if isinstance(new, bool) or not isinstance(new, int) or new == 0:
        return 1000
    return min(abs(new - int(old)) * 1000 // max(int(old), 1), 999_999)
