"""Gangs: one job on several machines of different owners, all or none.

Two rules keep two gangs from blocking each other for ever: machines are asked for in ascending order of their owner's
key, so that of two gangs one is always ahead, and a gang that does not get them all gives back those it has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from market.matching import Match
from market.neighbourhood import neighbourhood

MAX_MACHINES = 16
_MAX_STEPS = 20_000
"""Choices tried before a gang that must be scattered is told there is none; a shortlist never needs as many."""


def pick_gang(
    matches: Sequence[Match], count: int, *, scattered: bool, without: Collection[bytes] = ()
) -> tuple[Match, ...] | None:
    """The best ``count`` machines of a list that may work together, in the order in which they are asked for.

    Args:
        matches: a shortlist, best first; each provider is in it once.
        count: machines wanted, 1..:data:`MAX_MACHINES`.
        scattered: no two in one region or neighbourhood, so that one failure takes one of them. What is not known
            counts as different.
        without: providers that have refused already.

    Returns:
        None when there are not as many.
    """
    usable = [match for match in matches if match.offer.record.provider not in without]
    chosen = _first_fit(usable, count, scattered)
    if chosen is None:
        return None
    return tuple(sorted(chosen, key=lambda match: match.offer.record.provider))


def _first_fit(usable: list[Match], count: int, scattered: bool) -> list[Match] | None:
    """The first set in rank order, by trying: a greedy choice could shut out the only set there is."""
    if not scattered:
        return usable[:count] if len(usable) >= count else None
    steps = 0
    chosen: list[int] = []
    spots = [_spot(match) for match in usable]

    def extend(start: int) -> bool:
        nonlocal steps
        if len(chosen) == count:
            return True
        for place in range(start, len(usable) - (count - len(chosen)) + 1):
            steps += 1
            if steps > _MAX_STEPS:
                return False
            if all(_apart(spots[place], spots[other]) for other in chosen):
                chosen.append(place)
                if extend(place + 1):
                    return True
                chosen.pop()
        return False

    return [usable[place] for place in chosen] if extend(0) else None


def _spot(match: Match) -> tuple[str, str]:
    """Region and neighbourhood, each empty when not known."""
    offer = match.offer.record
    return offer.region, neighbourhood(offer.addresses)[0]


def _apart(one: tuple[str, str], other: tuple[str, str]) -> bool:
    return (not one[0] or one[0] != other[0]) and (not one[1] or one[1] != other[1])
