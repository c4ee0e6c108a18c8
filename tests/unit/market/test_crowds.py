"""Who is in one place only, however machines come, move and go."""

from __future__ import annotations

import random

from market.crowds import Crowds


def test_who_has_machines_elsewhere_too_is_not_only_there():
    crowds = Crowds()
    crowds.move(1, None, "a")
    crowds.move(1, None, "a")
    crowds.move(2, None, "a")
    crowds.move(2, None, "b")
    assert set(crowds.only_in("a")) == {1}
    assert set(crowds.only_in("b")) == set()
    crowds.move(2, "b", "a")
    assert set(crowds.only_in("a")) == {1, 2}


def test_who_leaves_is_nowhere():
    crowds = Crowds()
    crowds.move(1, None, "a")
    crowds.move(1, "a", None)
    assert set(crowds.only_in("a")) == set()
    crowds.move(1, None, "b")
    assert set(crowds.only_in("b")) == {1}


def test_a_thousand_moves_leave_what_a_count_of_all_machines_finds():
    luck, crowds = random.Random(3), Crowds()
    machines: list[tuple[int, str | None]] = [(number % 7, None) for number in range(20)]
    for _ in range(1000):
        at = luck.randrange(len(machines))
        provider, was = machines[at]
        now = luck.choice(["a", "b", "", None])
        crowds.move(provider, was, now)
        machines[at] = provider, now
        for place in ("a", "b", ""):
            alone = {one for one in range(7) if {p for o, p in machines if o == one and p is not None} == {place}}
            assert set(crowds.only_in(place)) == alone
