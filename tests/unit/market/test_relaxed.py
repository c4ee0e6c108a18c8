"""Changes to a job: how they are made, and which is the smaller one."""

from __future__ import annotations

import pytest

from market.ask import Ask
from market.records import Requirements
from market.relaxed import Change, Value, apply, relaxed, size
from tests.fakes.samples import an_ask, some_limits


def a_change(field: str, value: Value, rule: str = "any") -> Change:
    return Change(rule=rule, field=field, value=value, matches=0)


def an_asking() -> Ask:
    needs = Requirements(cpu_milli=4_000, gpus=("H100",), regions=("eu",))
    return an_ask(requirements=needs, limits=some_limits(max_price=1_000, max_rtt_us=5_000))


@pytest.mark.parametrize(
    ("field", "value", "becomes"),
    [
        ("cpu_milli", 2_000, 2_000),
        ("gpus", "A100", ("H100", "A100")),
        ("regions", (), ()),
        ("driver", "", ""),
        ("interruptible", True, True),
    ],
)
def test_a_requirement_is_changed_and_a_word_is_added(field: str, value: Value, becomes: object):
    ask = an_asking()
    requirements, limits = apply([a_change(field, value)], ask.requirements, ask.limits)
    assert getattr(requirements, field) == becomes
    assert limits == ask.limits


def test_several_changes_reach_requirements_and_limits_alike():
    ask = an_asking()
    changes = [a_change("max_price", 1_500), a_change("cpu_milli", 1), a_change("max_rtt_us", 0)]
    looser = relaxed(ask, changes)
    assert (looser.limits.max_price, looser.limits.max_rtt_us, looser.requirements.cpu_milli) == (1_500, 0, 1)
    assert looser.requirements.gpus == ask.requirements.gpus
    assert ask == an_asking()


def test_the_size_of_a_change_is_its_share_of_what_was_wanted():
    ask = an_asking()
    assert size([a_change("max_price", 1_100)], ask) == 100
    assert size([a_change("cpu_milli", 3_000)], ask) == 250
    assert size([a_change("max_price", 1_100), a_change("cpu_milli", 3_000)], ask) == 350
    assert size([a_change("max_rtt_us", 0)], ask) == size([a_change("gpus", "A100")], ask) == 1_000
    assert size([a_change("allow_simulated", True, "simulated")], ask) > size([a_change("max_price", 10**9)], ask) > 0
