"""Random histories of a lease: whatever is told in whatever order, the table decides and no figure falls.

Invariants: T1 illegal facts change nothing · T2 terminal stages are terminal · T3 paid, gpu_ms, sequence and paused
time never fall · T4 no deadline only while settling or over · T5 the first cause of an exit stands · T6 replaying
the accepted facts gives the same state · T7 paused time is not billed.
"""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from market.lease import (
    OVER,
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
from market.usage import metered_gpu_ms
from tests.fakes.samples import NOW, TERMS

BLANK = LeaseState(price=100_000, slots=2, max_duration_ms=60_000, terms=TERMS, since=NOW)
COUNTS = st.integers(0, 10**9)


class LeaseMachine(RuleBasedStateMachine):
    """One lease, told facts by an observer whose clock goes forward and whose news may be stale."""

    @initialize()
    def grant(self) -> None:
        self.state = BLANK
        self.now = NOW
        self.accepted: list[Fact] = []

    @rule(pause=st.integers(0, 30_000))
    def wait(self, pause: int) -> None:
        self.now += pause

    @rule(kind=st.sampled_from([CancelRequested, DrainRequested, DeadlinePassed, ContainerPaused, ContainerResumed]))
    def told(self, kind: type) -> None:
        self._tell(kind(at=self.now))

    @rule()
    def funded(self) -> None:
        self._tell(LaneFunded(at=self.now, amount=self.state.cap, transaction=b"t"))

    @rule(late=st.integers(0, 2_000))
    def started(self, late: int) -> None:
        self._tell(ContainerStarted(at=self.now, started_at=self.now - late))

    @rule(sequence=COUNTS, gpu_ms=COUNTS, amount=COUNTS, final=st.booleans(), stale=st.integers(0, 10_000))
    def paid(self, sequence: int, gpu_ms: int, amount: int, final: bool, stale: int) -> None:
        kind = FinalPaymentReceived if final else PaymentReceived
        self._tell(kind(at=self.now - stale, sequence=sequence, gpu_ms=gpu_ms, amount=amount))

    @rule(reason=st.sampled_from(ExitReason), code=st.integers(-1, 255), ran=st.booleans())
    def exited(self, reason: ExitReason, code: int, ran: bool) -> None:
        finished = self.now if ran else 0
        self._tell(ContainerExited(at=self.now, reason=reason, exit_code=code, finished_at=finished))

    @rule(kind=st.sampled_from([SettlementConfirmed, ReclaimConfirmed]))
    def closed(self, kind: type) -> None:
        self._tell(kind(at=self.now, transaction=b"c", paid=self.state.paid))

    def _tell(self, fact: Fact) -> None:
        before = self.state
        snapshot = msgspec.msgpack.encode(before)
        if not is_legal(before, fact):
            try:
                transition(before, fact)
            except IllegalFact:
                assert msgspec.msgpack.encode(self.state) == snapshot, "T1"
                return
            raise AssertionError("T1: an illegal fact was taken")
        assert before.stage not in OVER, "T2"
        self.state = transition(before, fact)
        self.accepted.append(fact)
        assert msgspec.msgpack.encode(before) == snapshot, "the old state was changed in place"
        for name in ("paid", "gpu_ms", "sequence", "paused_ms", "last_paid_at"):
            assert getattr(self.state, name) >= getattr(before, name), f"T3: {name} fell"
        if before.exit_reason is not None:
            assert self.state.exit_reason is before.exit_reason, "T5"
        if before.exit_code != -1:
            assert self.state.exit_code == before.exit_code, "T5"

    @invariant()
    def only_settling_and_over_wait_for_ever(self) -> None:
        endless = self.state.stage in OVER or self.state.stage is Stage.SETTLING
        assert (deadline(self.state) is None) == endless, "T4"

    @invariant()
    def replay_gives_the_same(self) -> None:
        state = BLANK
        for fact in self.accepted:
            raw = msgspec.msgpack.encode(fact)
            state = transition(state, msgspec.msgpack.decode(raw, type=Fact))
        assert state == self.state, "T6"

    @invariant()
    def paused_time_is_not_billed(self) -> None:
        state = self.state
        billed = metered_gpu_ms(state, self.now)
        if not state.started_at:
            assert billed == 0, "T7: billed what never ran"
            return
        assert billed >= state.gpu_ms, "T3"
        if billed > state.gpu_ms:
            end = state.finished_at or self.now
            paused = state.paused_ms + (max(0, end - state.paused_at) if state.paused_at else 0)
            wall = max(0, end - state.started_at - paused)
            assert billed == min(wall, state.max_duration_ms) * state.slots, "T7"
        if state.paused_at and not state.finished_at:
            assert metered_gpu_ms(state, self.now + 10**6) == billed, "T7: the meter runs while the job is frozen"


LeaseMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLeaseMachine = LeaseMachine.TestCase
