"""The life of a lease: one table, the same on both sides. Facts move it; illegal facts raise and change nothing.

    GRANTED → FUNDED → RUNNING → ENDING → SETTLING → SETTLED | RECLAIMED        (GRANTED may also end as LAPSED)

A stage names the one duty each side has now (``duties.py``) and, by :func:`deadline`, until when. Replaying the
recorded facts gives the same state, which is all a node needs to go on after a crash.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from market import money
from market.records import ExitReason, PaymentTerms


class Stage(StrEnum):
    """Where a lease stands."""

    GRANTED = "granted"
    FUNDED = "funded"
    RUNNING = "running"
    ENDING = "ending"
    SETTLING = "settling"
    LAPSED = "lapsed"
    SETTLED = "settled"
    RECLAIMED = "reclaimed"


OVER = frozenset({Stage.LAPSED, Stage.SETTLED, Stage.RECLAIMED})


class LaneFunded(Struct, frozen=True, tag=True):
    """The lane holds, confirmed, what this lease may cost. ``transaction`` is empty when it held enough already."""

    at: int
    amount: int
    transaction: bytes = b""


class ContainerStarted(Struct, frozen=True, tag=True):
    """The job runs. ``started_at`` is the engine's time; ``at`` the observer's own clock."""

    at: int
    started_at: int


class ContainerPaused(Struct, frozen=True, tag=True):
    """A payment is overdue by the grace time: the provider froze the job. Paused time is not billed."""

    at: int


class ContainerResumed(Struct, frozen=True, tag=True):
    """The overdue payment came."""

    at: int


class PaymentReceived(Struct, frozen=True, tag=True):
    """A usage report was answered by a voucher. ``amount`` is what this lease has paid in all, in units."""

    at: int
    sequence: int
    gpu_ms: int
    amount: int


class ContainerExited(Struct, frozen=True, tag=True):
    """The job is over, or never started. ``finished_at`` is the engine's time, 0 if it never ran."""

    at: int
    reason: ExitReason
    exit_code: int
    finished_at: int = 0


class CancelRequested(Struct, frozen=True, tag=True):
    """The requester wants no more of it."""

    at: int


class DrainRequested(Struct, frozen=True, tag=True):
    """The provider wants its machine back."""

    at: int


class DeadlinePassed(Struct, frozen=True, tag=True):
    """The stage took longer than :func:`deadline` allows."""

    at: int


class FinalPaymentReceived(Struct, frozen=True, tag=True):
    """The final report was answered: nothing more will be owed on this lease."""

    at: int
    sequence: int
    gpu_ms: int
    amount: int


class SettlementConfirmed(Struct, frozen=True, tag=True):
    """The chain paid out at least what this lease owed. ``transaction`` is empty when it owed nothing."""

    at: int
    transaction: bytes
    paid: int


class ReclaimConfirmed(Struct, frozen=True, tag=True):
    """The payer's exit finished: what was not redeemed in time went back to the payer."""

    at: int
    transaction: bytes
    paid: int


Fact = (
    LaneFunded
    | ContainerStarted
    | ContainerPaused
    | ContainerResumed
    | PaymentReceived
    | ContainerExited
    | CancelRequested
    | DrainRequested
    | DeadlinePassed
    | FinalPaymentReceived
    | SettlementConfirmed
    | ReclaimConfirmed
)

TABLE: dict[Stage, dict[type[Fact], Stage]] = {
    Stage.GRANTED: {
        LaneFunded: Stage.FUNDED,
        DeadlinePassed: Stage.LAPSED,
        CancelRequested: Stage.LAPSED,
        DrainRequested: Stage.LAPSED,
    },
    Stage.FUNDED: {
        ContainerStarted: Stage.RUNNING,
        ContainerExited: Stage.ENDING,
        DeadlinePassed: Stage.ENDING,
        CancelRequested: Stage.ENDING,
        DrainRequested: Stage.ENDING,
    },
    Stage.RUNNING: {
        PaymentReceived: Stage.RUNNING,
        ContainerPaused: Stage.RUNNING,
        ContainerResumed: Stage.RUNNING,
        ContainerExited: Stage.ENDING,
        DeadlinePassed: Stage.ENDING,
        CancelRequested: Stage.ENDING,
        DrainRequested: Stage.ENDING,
    },
    Stage.ENDING: {
        PaymentReceived: Stage.ENDING,
        ContainerExited: Stage.ENDING,
        FinalPaymentReceived: Stage.SETTLING,
        DeadlinePassed: Stage.SETTLING,
    },
    Stage.SETTLING: {
        SettlementConfirmed: Stage.SETTLED,
        ReclaimConfirmed: Stage.RECLAIMED,
    },
    Stage.LAPSED: {},
    Stage.SETTLED: {},
    Stage.RECLAIMED: {},
}


class IllegalFact(Exception):
    """A fact that cannot be true of a lease in this stage. Nothing was changed."""

    def __init__(self, stage: Stage, fact: Fact) -> None:
        super().__init__(f"{type(fact).__name__} is not possible in stage {stage}")
        self.stage = stage
        self.fact = fact


class LeaseState(Struct, frozen=True, kw_only=True):
    """All that is known of one lease. ``since`` and ``last_paid_at`` are by the observer's own clock."""

    price: int
    slots: int
    max_duration_ms: int
    terms: PaymentTerms
    stage: Stage = Stage.GRANTED
    since: int
    started_at: int = 0
    running_since: int = 0
    finished_at: int = 0
    last_paid_at: int = 0
    sequence: int = 0
    gpu_ms: int = 0
    paid: int = 0
    paused_at: int = 0
    paused_ms: int = 0
    exit_reason: ExitReason | None = None
    exit_code: int = -1
    funding_transaction: bytes = b""
    settling_transaction: bytes = b""

    @property
    def cap(self) -> int:
        """The most this lease can ever cost, in units: what must be in the lane before the job starts."""
        return money.amount_due(self.price, self.max_duration_ms * self.slots)

    @property
    def exposure(self) -> int:
        """The most either side can lose to the other, in units: one tick and the grace time."""
        return money.amount_due(self.price, (self.terms.tick_ms + self.terms.grace_ms) * self.slots)

    @property
    def pause_at(self) -> int:
        """When the provider freezes an unpaid job (grace G1 after the payment was due)."""
        return self.last_paid_at + self.terms.tick_ms + self.terms.grace_ms

    @property
    def freeze_at(self) -> int:
        """When the provider's unpaid work reaches the exposure; never later than :attr:`pause_at`.

        A payment may come long after the report that it pays for. Counted from its arrival, a requester that answers
        each report at the last moment and then stays away would have had nearly twice what was printed.
        """
        paid_until = self.started_at + self.paused_ms + self.gpu_ms // self.slots
        return min(self.pause_at, paid_until + self.terms.tick_ms + self.terms.grace_ms)


def at_risk(state: LeaseState) -> int:
    """The bound of loss that is told before the start, in units: what one side can lose by the other's fault.

    An unpaid job is frozen after a tick and the grace time (G1), which costs nothing more however long it lasts, and is
    ended after the grace time once more (G2). No lease can lose more than it costs.
    """
    return min(state.exposure, state.cap)


def deadline(state: LeaseState) -> int | None:
    """Until when, by the observer's clock, the stage may last. None: it retries for ever."""
    terms = state.terms
    if state.stage is Stage.GRANTED:
        return state.since + terms.fund_within_ms
    if state.stage is Stage.FUNDED:
        return state.since + terms.start_within_ms
    if state.stage is Stage.RUNNING:
        # Grace G2: the frozen job gets as long again before the lease ends. The time limit of the job itself also
        # ends here, so that neither side has to trust the other's stopwatch; a tick of slack lets its last report in.
        unpaid = state.pause_at + terms.grace_ms
        longest = state.running_since + state.max_duration_ms + state.paused_ms + terms.tick_ms
        return min(unpaid, longest)
    if state.stage is Stage.ENDING:
        return state.since + terms.final_within_ms
    return None


def is_legal(state: LeaseState, fact: Fact) -> bool:
    """Whether the table has a place for this fact now."""
    return type(fact) in TABLE[state.stage]


def transition(state: LeaseState, fact: Fact) -> LeaseState:
    """The state after a fact.

    Raises:
        IllegalFact: the table has no such entry; the state is as before.
    """
    following = TABLE[state.stage].get(type(fact))
    if following is None:
        raise IllegalFact(state.stage, fact)
    changed = _absorb(state, fact)
    if following is not state.stage:
        changed = msgspec.structs.replace(changed, stage=following, since=fact.at)
    return changed


def _absorb(state: LeaseState, fact: Fact) -> LeaseState:
    replace = msgspec.structs.replace
    match fact:
        case LaneFunded():
            return replace(state, funding_transaction=fact.transaction)
        case ContainerStarted():
            return replace(state, started_at=fact.started_at, running_since=fact.at, last_paid_at=fact.at)
        case ContainerPaused():
            return state if state.paused_at else replace(state, paused_at=fact.at)
        case ContainerResumed():
            return _resume(state, fact.at)
        case PaymentReceived() | FinalPaymentReceived():
            # Cumulative figures: an old or repeated payment changes nothing.
            return replace(
                state,
                sequence=max(state.sequence, fact.sequence),
                gpu_ms=max(state.gpu_ms, fact.gpu_ms),
                paid=max(state.paid, fact.amount),
                last_paid_at=max(state.last_paid_at, fact.at),
            )
        case ContainerExited():
            return _exit(_resume(state, fact.at), fact.reason, fact.exit_code, fact.finished_at)
        case CancelRequested():
            return _exit(_resume(state, fact.at), ExitReason.CANCELLED)
        case DrainRequested():
            return _exit(_resume(state, fact.at), ExitReason.DRAINED)
        case DeadlinePassed():
            return _expire(_resume(state, fact.at), fact.at)
        case SettlementConfirmed() | ReclaimConfirmed():
            return replace(state, settling_transaction=fact.transaction)


def _resume(state: LeaseState, at: int) -> LeaseState:
    if not state.paused_at:
        return state
    return msgspec.structs.replace(state, paused_at=0, paused_ms=state.paused_ms + max(0, at - state.paused_at))


def _exit(state: LeaseState, reason: ExitReason, exit_code: int = -1, finished_at: int = 0) -> LeaseState:
    """The first cause stands: a program killed because it was cancelled was cancelled."""
    changes: dict[str, object] = {}
    if state.exit_reason is None:
        changes["exit_reason"] = reason
    if state.exit_code == -1:
        changes["exit_code"] = exit_code
    if not state.finished_at:
        changes["finished_at"] = finished_at
    return msgspec.structs.replace(state, **changes)


def _expire(state: LeaseState, at: int) -> LeaseState:
    if state.stage is Stage.RUNNING:
        over_time = at >= state.running_since + state.max_duration_ms + state.paused_ms
        return _exit(state, ExitReason.TIME_LIMIT if over_time else ExitReason.UNPAID)
    if state.stage is Stage.FUNDED:
        return _exit(state, ExitReason.LOST)
    return state
