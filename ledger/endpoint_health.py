"""How well each endpoint of a chain serves, and in which order they are asked. Pure: time comes in as seconds.

A circuit breaker per endpoint: repeated faults open it, so that nobody waits for a dead endpoint; after a pause, which
doubles at each opening, one probe decides. An endpoint whose newest block lies far behind the others is stuck, and is
asked only when there is nobody else. One that serves another chain is not asked at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace


class HealthRules(Struct, frozen=True, kw_only=True):
    """``faults_allowed`` in a row open the breaker, for ``first_pause_s`` and at most ``most_pause_s``; ``max_lag`` is
    how many blocks an endpoint may be behind the others."""

    faults_allowed: int = 3
    first_pause_s: float = 5.0
    most_pause_s: float = 120.0
    max_lag: int = 5


class EndpointState(StrEnum):
    """What an endpoint is good for at the moment."""

    WELL = "well"
    BEHIND = "behind"
    RESTING = "resting"
    REFUSED = "refused"


class EndpointHealth(Struct, frozen=True, kw_only=True):
    """What is known of one endpoint.

    ``faults`` are those since its last answer, ``openings`` how often its breaker opened since then, ``resumes_at``
    when it may be asked again. ``head`` is its newest block as last heard, 0 for never. ``refused`` says why it must
    not be asked. ``checked``: it has named the right chain since its last fault.
    """

    faults: int = 0
    openings: int = 0
    resumes_at: float = 0.0
    head: int = 0
    refused: str = ""
    checked: bool = False


def after_answer(health: EndpointHealth) -> EndpointHealth:
    """The endpoint answered."""
    return health if not health.faults else replace(health, faults=0, openings=0, resumes_at=0.0)


def after_fault(health: EndpointHealth, now: float, rules: HealthRules) -> EndpointHealth:
    """The endpoint failed to answer. Whatever answers there next has to name its chain again first."""
    faults, openings, resumes_at = health.faults + 1, health.openings, health.resumes_at
    # Once it was open, a single failed probe opens it again.
    if faults >= rules.faults_allowed and now >= resumes_at:
        openings += 1
        resumes_at = now + min(rules.first_pause_s * 2.0 ** min(openings - 1, 32), rules.most_pause_s)
    return replace(health, faults=faults, openings=openings, resumes_at=resumes_at, checked=False)


def after_check(health: EndpointHealth, *, wanted: int, found: int, now: float, rules: HealthRules) -> EndpointHealth:
    """The endpoint named its chain. One on another chain is looked at again after the longest pause, not before."""
    if found == wanted:
        return replace(health, refused="", checked=True, resumes_at=0.0 if health.refused else health.resumes_at)
    return replace(health, refused=f"chain {found}, not {wanted}", checked=False, resumes_at=now + rules.most_pause_s)


def after_head(health: EndpointHealth, head: int, *, checked: bool) -> EndpointHealth:
    """The endpoint told its newest block. Before it is asked for it, ``checked`` is taken back, so that it has to name
    its chain too."""
    return replace(health, head=head, checked=checked)


def state_of(healths: Sequence[EndpointHealth], index: int, now: float, rules: HealthRules) -> EndpointState:
    """The state of one endpoint beside the others."""
    health = healths[index]
    if health.refused:
        return EndpointState.REFUSED
    if health.resumes_at > now:
        return EndpointState.RESTING
    behind = health.head and health.head < reference_head(healths) - rules.max_lag
    return EndpointState.BEHIND if behind else EndpointState.WELL


def reference_head(healths: Sequence[EndpointHealth]) -> int:
    """The block that an endpoint is measured by: the highest of two, the middle one of more.

    With three, a liar that names a block far ahead does not make the honest ones look stuck.
    """
    heads = sorted((health.head for health in healths if health.head and not health.refused), reverse=True)
    return 0 if not heads else heads[0] if len(heads) < 3 else heads[len(heads) // 2]


def order_to_ask(healths: Sequence[EndpointHealth], now: float, rules: HealthRules) -> list[int]:
    """The endpoints to ask, best first: those that are well, as configured, then those that are behind.

    When all rest, the one whose pause ends first is asked all the same: failing without a try helps nobody.
    """
    states = [state_of(healths, index, now, rules) for index in range(len(healths))]
    well = [index for index, state in enumerate(states) if state is EndpointState.WELL]
    behind = [index for index, state in enumerate(states) if state is EndpointState.BEHIND]
    # Whoever uses it asks for its chain first; perhaps its owner has mended it.
    again = [i for i, state in enumerate(states) if state is EndpointState.REFUSED and may_probe(healths[i], now)]
    if well or behind:
        return well + behind
    if again:
        return again
    resting = [index for index, state in enumerate(states) if state is EndpointState.RESTING]
    return [min(resting, key=lambda index: healths[index].resumes_at)] if resting else []


def may_probe(health: EndpointHealth, now: float) -> bool:
    """Whether its breaker lets a probe through: the pause is over, or there is none."""
    return health.resumes_at <= now
