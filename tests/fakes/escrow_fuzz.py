"""Fuzz a state machine until it has seen what it must: safety that was never put to the test proves nothing (I14)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.fakes.stake_model import RevertError

_ROUNDS = 6
"""A round leaves rules out at random, so that one alone may miss something, rarely. Six in a row do not."""


def fuzz(
    machine: type[RuleBasedStateMachine],
    happened: Counter[str],
    needed: Sequence[str],
    *,
    examples: int,
    steps: int,
) -> None:
    """Run the machine, and again while it has not seen all that is ``needed``; ``happened`` is what it counts in."""
    happened.clear()
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    for _ in range(_ROUNDS):
        run_state_machine_as_test(machine, settings=chosen)
        if all(happened[name] for name in needed):
            return
    unseen = [name for name in needed if not happened[name]]
    raise AssertionError(f"I14: the run never saw {', '.join(unseen)}")


def both(happened: Counter[str], real: Callable[[], object], model: Callable[[], object]) -> bool:
    """Do a thing to the contract and to its model; whether they did it. They must refuse for the same reason."""
    refusals = []
    for act in (real, model):
        try:
            act()
            refusals.append("")
        except RevertError as error:
            refusals.append(str(error))
    assert refusals[0] == refusals[1]
    happened[refusals[0] or "accepted"] += 1
    return not refusals[0]
