"""The life of a lease: the table and nothing but the table, and figures that never fall."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market import money
from market.lease import (
    OVER,
    TABLE,
    CancelRequested,
    ContainerExited,
    ContainerPaused,
    ContainerResumed,
    ContainerStarted,
    DeadlinePassed,
    DrainRequested,
    Fact,
    FinalPaymentReceived,
    IllegalFact,
    LaneFunded,
    LeaseState,
    PaymentReceived,
    ReclaimConfirmed,
    SettlementConfirmed,
    Stage,
    deadline,
    is_legal,
    transition,
)
from market.records import ExitReason
from tests.fakes.samples import NOW, TERMS

FACTS: dict[type, Any] = {
    LaneFunded: lambda at: LaneFunded(at=at, amount=5),
    ContainerStarted: lambda at: ContainerStarted(at=at, started_at=at - 3),
    ContainerPaused: lambda at: ContainerPaused(at=at),
    ContainerResumed: lambda at: ContainerResumed(at=at),
    PaymentReceived: lambda at: PaymentReceived(at=at, sequence=1, gpu_ms=10, amount=1),
    ContainerExited: lambda at: ContainerExited(at=at, reason=ExitReason.OK, exit_code=0, finished_at=at),
    CancelRequested: lambda at: CancelRequested(at=at),
    DrainRequested: lambda at: DrainRequested(at=at),
    DeadlinePassed: lambda at: DeadlinePassed(at=at),
    FinalPaymentReceived: lambda at: FinalPaymentReceived(at=at, sequence=2, gpu_ms=20, amount=2),
    SettlementConfirmed: lambda at: SettlementConfirmed(at=at, transaction=b"t", paid=2),
    ReclaimConfirmed: lambda at: ReclaimConfirmed(at=at, transaction=b"t", paid=2),
}


def a_state(**changes: Any) -> LeaseState:
    plain = LeaseState(price=100_000, slots=2, max_duration_ms=600_000, terms=TERMS, since=NOW)
    return replace(plain, **changes)


def running(**changes: Any) -> LeaseState:
    return a_state(stage=Stage.RUNNING, started_at=NOW, running_since=NOW, last_paid_at=NOW, **changes)


def test_the_table_is_complete():
    assert set(TABLE) == set(Stage)
    assert set(FACTS) == {fact for entries in TABLE.values() for fact in entries} == set(Fact.__args__)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("kind", FACTS)
def test_every_pair_is_in_the_table_or_changes_nothing(stage: Stage, kind: type):
    state, fact = a_state(stage=stage), FACTS[kind](NOW + 7)
    following = TABLE[stage].get(kind)
    assert is_legal(state, fact) == (following is not None)
    if following is None:
        with pytest.raises(IllegalFact) as illegal:
            transition(state, fact)
        assert (illegal.value.stage, illegal.value.fact) == (stage, fact)
        assert state == a_state(stage=stage)
    else:
        after = transition(state, fact)
        assert after.stage is following
        assert after.since == (NOW if following is stage else NOW + 7)


def test_what_is_over_stays_over():
    assert {stage for stage, entries in TABLE.items() if not entries} == OVER


def test_every_stage_can_be_reached_and_left():
    reached = {Stage.GRANTED}
    for _ in Stage:
        reached |= {following for stage in reached for following in TABLE[stage].values()}
    assert reached == set(Stage)


def test_a_job_is_frozen_by_what_was_paid_for_and_not_by_when_the_payment_came():
    exposure_ms = TERMS.tick_ms + TERMS.grace_ms
    prompt = running(gpu_ms=2 * 3_000)
    assert prompt.freeze_at == min(prompt.pause_at, NOW + 3_000 + exposure_ms)
    held_up = replace(prompt, last_paid_at=NOW + 10_000)
    assert held_up.pause_at == NOW + 10_000 + exposure_ms
    assert held_up.freeze_at == NOW + 3_000 + exposure_ms
    # Time in the frost is not worked, and so not unpaid.
    assert replace(held_up, paused_ms=5_000).freeze_at == NOW + 8_000 + exposure_ms


def test_cap_and_exposure_are_the_printed_numbers():
    state = a_state()
    assert state.cap == money.amount_due(100_000, 600_000 * 2)
    assert state.exposure == money.amount_due(100_000, (TERMS.tick_ms + TERMS.grace_ms) * 2)


@pytest.mark.parametrize(
    ("state", "due"),
    [
        (a_state(), NOW + TERMS.fund_within_ms),
        (a_state(stage=Stage.FUNDED), NOW + TERMS.start_within_ms),
        (running(), NOW + TERMS.tick_ms + 2 * TERMS.grace_ms),
        (running(max_duration_ms=3_000), NOW + 3_000 + TERMS.tick_ms),
        (running(max_duration_ms=3_000, paused_ms=500), NOW + 3_500 + TERMS.tick_ms),
        (a_state(stage=Stage.ENDING), NOW + TERMS.final_within_ms),
        (a_state(stage=Stage.SETTLING), None),
        (a_state(stage=Stage.LAPSED), None),
        (a_state(stage=Stage.SETTLED), None),
        (a_state(stage=Stage.RECLAIMED), None),
    ],
)
def test_each_stage_has_its_deadline(state: LeaseState, due: int | None):
    assert deadline(state) == due


def test_a_payment_moves_the_deadline_and_an_old_one_moves_nothing_back():
    state = running()
    paid = transition(state, PaymentReceived(at=NOW + 5_000, sequence=3, gpu_ms=900, amount=90))
    assert deadline(paid) == NOW + 5_000 + TERMS.tick_ms + 2 * TERMS.grace_ms
    again = transition(paid, PaymentReceived(at=NOW + 1_000, sequence=1, gpu_ms=5, amount=1))
    assert (again.sequence, again.gpu_ms, again.paid, again.last_paid_at) == (3, 900, 90, NOW + 5_000)


def test_paused_time_is_added_up_and_not_counted_twice():
    state = transition(running(), ContainerPaused(at=NOW + 100))
    state = transition(state, ContainerPaused(at=NOW + 200))
    assert state.paused_at == NOW + 100
    state = transition(state, ContainerResumed(at=NOW + 400))
    assert (state.paused_at, state.paused_ms) == (0, 300)
    state = transition(state, ContainerResumed(at=NOW + 900))
    assert state.paused_ms == 300
    state = transition(state, ContainerPaused(at=NOW + 1_000))
    assert transition(state, DeadlinePassed(at=NOW + 1_500)).paused_ms == 800
    assert transition(state, CancelRequested(at=NOW + 1_500)).paused_ms == 800


def test_a_clock_that_goes_back_never_makes_a_pause_negative():
    state = transition(running(), ContainerPaused(at=NOW + 100))
    assert transition(state, ContainerResumed(at=NOW)).paused_ms == 0


def test_the_first_cause_of_an_end_stands():
    ended = transition(running(), CancelRequested(at=NOW + 10))
    killed = ContainerExited(at=NOW + 20, reason=ExitReason.ERROR, exit_code=143, finished_at=NOW + 15)
    after = transition(ended, killed)
    assert (after.exit_reason, after.exit_code, after.finished_at) == (ExitReason.CANCELLED, 143, NOW + 15)
    later = ContainerExited(at=NOW + 30, reason=ExitReason.OK, exit_code=0, finished_at=NOW + 25)
    assert transition(after, later) == after


@pytest.mark.parametrize(
    ("state", "at", "reason"),
    [
        (running(), NOW + 21_000, ExitReason.UNPAID),
        (running(max_duration_ms=3_000), NOW + 3_000, ExitReason.TIME_LIMIT),
        (running(max_duration_ms=3_000), NOW + 2_999, ExitReason.UNPAID),
        (running(max_duration_ms=3_000, paused_ms=1), NOW + 3_000, ExitReason.UNPAID),
        (a_state(stage=Stage.FUNDED), NOW + 120_000, ExitReason.LOST),
        (a_state(), NOW + 60_000, None),
    ],
)
def test_a_deadline_names_the_cause(state: LeaseState, at: int, reason: ExitReason | None):
    assert transition(state, DeadlinePassed(at=at)).exit_reason is reason


def test_a_drained_job_was_drained():
    assert transition(running(), DrainRequested(at=NOW)).exit_reason is ExitReason.DRAINED


def test_the_transactions_are_kept():
    state = transition(a_state(), LaneFunded(at=NOW, amount=1, transaction=b"deposit"))
    assert state.funding_transaction == b"deposit"
    settled = transition(a_state(stage=Stage.SETTLING), SettlementConfirmed(at=NOW, transaction=b"close", paid=1))
    assert settled.settling_transaction == b"close"
