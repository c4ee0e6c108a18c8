"""What is set aside lasts as long as it is said to, and a job stops before the last of it is used."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from market import money
from market.cover import FOREVER_MS, STOP_MS, cover_wanted, is_dry, owed_now, runway_ms, stretch_ms
from market.lease import LeaseState, Stage
from market.records import PaymentTerms

TERMS = PaymentTerms(
    tick_ms=5_000, grace_ms=8_000, fund_within_ms=60_000, start_within_ms=120_000, final_within_ms=60_000
)
STATE = LeaseState(price=1_000_000, slots=2, max_duration_ms=3_600_000, terms=TERMS, since=0)
HOUR_MS = 3_600_000


def test_without_a_stretch_everything_is_set_aside_at_once() -> None:
    assert cover_wanted(STATE, 0) == STATE.cap
    assert runway_ms(STATE, cover=STATE.cap, due=STATE.cap - 1) == FOREVER_MS


def test_a_stretch_is_never_too_short_for_two_payments_and_the_end() -> None:
    assert stretch_ms(STATE, 1) == 2 * 13_000 + 2 * STOP_MS
    assert stretch_ms(STATE, HOUR_MS) == HOUR_MS


def at(gpu_ms: int) -> LeaseState:
    return replace(STATE, gpu_ms=gpu_ms)


def test_the_next_stretch_is_wanted_from_the_middle_of_the_last_on() -> None:
    stretch = HOUR_MS // 4
    one = money.amount_due(STATE.price, stretch * STATE.slots)
    assert [cover_wanted(at(2 * ms), stretch) // one for ms in (0, stretch // 2 - 1, stretch // 2, stretch)] == [
        1,
        1,
        2,
        2,
    ]
    assert cover_wanted(at(2 * 3 * stretch), stretch) == STATE.cap == 4 * one


def test_what_is_owed_is_what_the_meter_says_and_never_below_what_was_paid() -> None:
    running = replace(STATE, stage=Stage.RUNNING, started_at=1_000, running_since=1_000, paid=7)
    assert owed_now(running, 11_000) == money.amount_due(STATE.price, 2 * 10_000)
    assert owed_now(running, 1_000) == 7
    assert owed_now(STATE, 5_000) == 0


@given(st.integers(1, 10**9), st.integers(1, 64), st.integers(0, 10**7), st.integers(0, 10**8))
def test_a_job_that_runs_for_its_runway_owes_no_more_than_is_set_aside(
    price: int, slots: int, ahead_ms: int, ran_ms: int
) -> None:
    state = replace(STATE, price=price, slots=slots, max_duration_ms=31 * 86_400_000, gpu_ms=ran_ms * slots)
    due = money.amount_due(price, ran_ms * slots)
    cover = cover_wanted(state, max(ahead_ms, 1))
    left = runway_ms(state, cover=cover, due=due)
    assert money.amount_due(price, (ran_ms + left) * slots) <= cover + 1
    a_second = money.amount_due(price, 1_000 * slots)
    assert (cover - due) * 1_000 // a_second == left
    assert not is_dry(stretch_ms(state, ahead_ms) // 2)


@given(st.integers(1, 10**6), st.integers(0, 3_600_000), st.integers(0, 3_600_000))
def test_who_hears_of_payments_later_never_wants_more(ahead_ms: int, one: int, other: int) -> None:
    early, late = sorted((one, other))
    assert cover_wanted(at(2 * early), ahead_ms) <= cover_wanted(at(2 * late), ahead_ms)


def test_it_is_dry_while_the_end_can_still_be_paid() -> None:
    assert is_dry(STOP_MS)
    assert not is_dry(STOP_MS + 1)
