"""How long who does not pay must wait, and that giving back at once is no such thing."""

from __future__ import annotations

from node.grant_limits import FIRST_PAUSE_MS, LAST_PAUSE_MS, MAX_UNFUNDED, GrantLimits
from tests.fakes.samples import BUYER, NOW, a_signer


def waits(limits: GrantLimits, now: int = NOW) -> int:
    """For how long the buyer gets nothing, to the second."""
    step = 1_000
    return next(ms for ms in range(0, LAST_PAUSE_MS * 2, step) if may(limits, now + ms))


def may(limits: GrantLimits, now: int = NOW, unfunded: int = 0) -> bool:
    return limits.may_grant(BUYER.key, unfunded=unfunded, now=now)


def test_a_stranger_may_hold_a_few():
    assert may(GrantLimits(), unfunded=MAX_UNFUNDED - 1)
    assert not may(GrantLimits(), unfunded=MAX_UNFUNDED)


def test_who_lets_leases_lapse_waits_twice_as_long_each_time():
    limits, pauses = GrantLimits(), []
    for _ in range(12):
        limits.ended(BUYER.key, paid=False, now=NOW)
        pauses.append(waits(limits))
    assert pauses[:4] == [FIRST_PAUSE_MS * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == LAST_PAUSE_MS
    assert limits.may_grant(a_signer("another").key, unfunded=0, now=NOW)


def test_one_paid_lease_clears_the_slate():
    limits = GrantLimits()
    for _ in range(5):
        limits.ended(BUYER.key, paid=False, now=NOW)
    limits.ended(BUYER.key, paid=True, now=NOW)
    assert may(limits)


def test_who_gives_back_at_once_waits_a_little_and_never_longer():
    limits = GrantLimits()
    for _ in range(20):
        limits.ended(BUYER.key, paid=False, given_back=True, now=NOW)
        assert waits(limits) == FIRST_PAUSE_MS
    limits.ended(BUYER.key, paid=False, now=NOW)
    assert waits(limits) == FIRST_PAUSE_MS


def test_giving_back_does_not_shorten_a_longer_wait():
    limits = GrantLimits()
    for _ in range(4):
        limits.ended(BUYER.key, paid=False, now=NOW)
    limits.ended(BUYER.key, paid=False, given_back=True, now=NOW)
    assert waits(limits) == FIRST_PAUSE_MS * 8
