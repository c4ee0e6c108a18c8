"""The breaker opens after repeated faults, lets one probe through, and stuck or foreign endpoints are left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.endpoint_health import (
    EndpointHealth,
    EndpointState,
    HealthRules,
    after_answer,
    after_check,
    after_fault,
    may_probe,
    order_to_ask,
    reference_head,
    state_of,
)

RULES = HealthRules(faults_allowed=3, first_pause_s=5, most_pause_s=40, max_lag=5)
FRESH = EndpointHealth(checked=True)


def faults(count: int, *, at: float = 0.0) -> EndpointHealth:
    health = FRESH
    for _ in range(count):
        health = after_fault(health, at, RULES)
    return health


def test_some_faults_are_forgiven_and_the_next_answer_forgets_them() -> None:
    assert state_of([faults(2)], 0, 0.0, RULES) is EndpointState.WELL
    assert state_of([faults(3)], 0, 0.0, RULES) is EndpointState.RESTING
    recovered = after_answer(faults(2))
    assert state_of([after_fault(recovered, 0.0, RULES)], 0, 0.0, RULES) is EndpointState.WELL


def test_after_the_pause_one_probe_decides_and_a_failed_one_doubles_the_pause() -> None:
    health, now, pauses = faults(3), 0.0, []
    for _ in range(6):
        pauses.append(health.resumes_at - now)
        assert not may_probe(health, health.resumes_at - 0.001)
        now = health.resumes_at
        assert may_probe(health, now)
        health = after_fault(health, now, RULES)
    assert pauses == [5, 10, 20, 40, 40, 40]
    assert state_of([after_answer(health)], 0, now, RULES) is EndpointState.WELL


def test_faults_of_requests_that_were_under_way_do_not_lengthen_the_pause() -> None:
    opened = faults(3)
    assert after_fault(opened, 1.0, RULES).resumes_at == opened.resumes_at


def test_who_failed_has_to_name_its_chain_again() -> None:
    assert not faults(1).checked


def test_an_endpoint_far_behind_comes_last_and_one_a_little_behind_keeps_its_place() -> None:
    stuck, slow, newest = (EndpointHealth(head=head) for head in (94, 95, 100))
    assert order_to_ask([stuck, slow, newest], 0.0, RULES) == [0, 1, 2]
    assert order_to_ask([stuck, newest], 0.0, RULES) == [1, 0]
    assert state_of([stuck, newest], 0, 0.0, RULES) is EndpointState.BEHIND


def test_one_liar_among_three_does_not_make_the_honest_look_stuck() -> None:
    honest, also, liar = (EndpointHealth(head=head) for head in (100, 101, 10**9))
    assert reference_head([honest, also, liar]) == 101
    assert order_to_ask([honest, also, liar], 0.0, RULES) == [0, 1, 2]


def test_one_of_another_chain_is_not_asked_until_the_longest_pause_is_over() -> None:
    foreign = after_check(FRESH, wanted=1, found=5, now=0.0, rules=RULES)
    assert foreign.refused == "chain 5, not 1"
    assert order_to_ask([foreign, FRESH], 0.0, RULES) == [1]
    assert order_to_ask([foreign], 39.0, RULES) == []
    assert order_to_ask([foreign], 40.0, RULES) == [0]
    mended = after_check(foreign, wanted=1, found=1, now=40.0, rules=RULES)
    assert (mended.refused, order_to_ask([mended], 40.0, RULES)) == ("", [0])


def test_when_all_rest_the_one_that_may_be_asked_soonest_is_asked() -> None:
    assert order_to_ask([faults(3, at=2.0), faults(3, at=1.0)], 3.0, RULES) == [1]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 200), st.booleans()), min_size=1, max_size=8))
def test_whatever_happened_somebody_is_asked_unless_all_are_foreign(seen: list[tuple[int, int, bool]]) -> None:
    healths = []
    for count, head, foreign in seen:
        health = EndpointHealth(head=head)
        for _ in range(count):
            health = after_fault(health, 0.0, RULES)
        healths.append(after_check(health, wanted=1, found=2, now=0.0, rules=RULES) if foreign else health)
    order = order_to_ask(healths, 1.0, RULES)
    assert len(set(order)) == len(order)
    assert bool(order) == any(not foreign for _, _, foreign in seen)
    assert not any(healths[index].refused for index in order)
