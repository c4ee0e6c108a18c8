"""How much of a lease's cost is set aside, and for how long that lasts. Pure; both sides reckon alike.

Usually all a lease can cost lies in the lane before it starts. A requester may set aside a stretch at a time instead
(``JobSpec.fund_ahead_ms``) and add to it while the job runs. The provider works no longer than what is set aside for it
pays: before that is used up the job is stopped, its outputs are kept, and its slots are free.
"""

from __future__ import annotations

from market import money
from market.lease import LeaseState
from market.usage import metered_gpu_ms

STOP_MS = 12_000
"""What is left when a job is stopped: time for the program to end by itself, and for its last report."""
FOREVER_MS = 2**62


def stretch_ms(state: LeaseState, ahead_ms: int) -> int:
    """How long the stretch lasts that is set aside at once: what was asked for, and never so short that it would be low
    before the next payment could come."""
    terms = state.terms
    return max(ahead_ms, 2 * (terms.tick_ms + terms.grace_ms) + 2 * STOP_MS)


def cover_wanted(state: LeaseState, ahead_ms: int) -> int:
    """What should be set aside by now, in units: whole stretches, the next one from the middle of the last on.

    It follows from what was paid, not from the clock: so the provider, which hears of a payment after the requester,
    never takes more of a lane than was meant for this lease. Without ``ahead_ms`` it is the whole cap.
    """
    if not ahead_ms:
        return state.cap
    stretch = stretch_ms(state, ahead_ms)
    count = (state.gpu_ms // state.slots + stretch // 2) // stretch + 1
    return min(state.cap, money.amount_due(state.price, count * stretch * state.slots))


def owed_now(state: LeaseState, now: int) -> int:
    """What the lease owes by the meter: the provider's is the engine's time, the requester's its own."""
    return max(state.paid, money.amount_due(state.price, metered_gpu_ms(state, now)))


def runway_ms(state: LeaseState, *, cover: int, due: int) -> int:
    """For how long what is set aside still pays, in milliseconds; for ever where it is the whole cap."""
    if cover >= state.cap:
        return FOREVER_MS
    a_second = money.amount_due(state.price, 1_000 * state.slots)
    return max(0, cover - due) * 1_000 // max(a_second, 1)


def is_dry(left_ms: int) -> bool:
    """Whether the job has to stop, so that its end is still paid."""
    return left_ms <= STOP_MS
