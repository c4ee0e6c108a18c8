"""Two sides, two clocks, one amount: an honest meter is paid in full, and a lying one gains the tolerance at most."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market import money
from market.lease import ContainerExited, ContainerPaused, ContainerResumed, ContainerStarted, LeaseState, transition
from market.lease import LaneFunded as Funded
from market.records import ExitReason
from market.usage import CLOCK_TOLERANCE_MS, ReportChain, ReportRefusal, extend, judge_report, write_report
from node.lease_board import payment_fact
from tests.fakes.samples import NOW, SELLER, TERMS

LEASE = b"l" * 16
TERMS_OF = {"price": st.integers(0, 10**7), "slots": st.integers(1, 8), "max_duration_ms": st.integers(1_000, 300_000)}
BLANK = LeaseState(price=1, slots=1, max_duration_ms=1_000, terms=TERMS, since=NOW)


EARLY = (ReportRefusal.OVER_METERED, ReportRefusal.TOO_SOON)


class Side:
    """What one side of the lease knows: its state, its chain, and a clock that is wrong by ``skew`` milliseconds."""

    def __init__(self, terms: dict[str, int], skew: int) -> None:
        self.skew = skew
        self.state = replace(BLANK, since=NOW + skew, **terms)
        self.chain = ReportChain()

    def learn(self, fact: Any) -> None:
        self.state = transition(self.state, fact)

    def settle(self, report: Any, now: int) -> None:
        self.chain = extend(self.chain, report, now + self.skew)
        self.learn(payment_fact(report.record, now + self.skew))


class Trade:
    """A lease between two sides that talk with delays. ``now`` is the true time."""

    def __init__(self, terms: dict[str, int], provider_skew: int, requester_skew: int) -> None:
        self.provider, self.requester = Side(terms, provider_skew), Side(terms, requester_skew)
        self.now = NOW
        for side in (self.provider, self.requester):
            side.learn(Funded(at=self.now + side.skew, amount=1))
        self.funded_at = self.now + requester_skew

    def start(self) -> None:
        at = self.now + self.provider.skew
        self.provider.learn(ContainerStarted(at=at, started_at=at))

    def report(self, *, final: bool = False) -> Any:
        state, now = self.provider.state, self.now + self.provider.skew
        record = write_report(
            state, provider=SELLER.key, lease_id=LEASE, chain=self.provider.chain, now=now, final=final
        )
        return SELLER.sign(record)

    def judge(self, report: Any) -> ReportRefusal | None:
        refused = judge_report(
            report,
            self.requester.chain,
            self.requester.state,
            lease_id=LEASE,
            funded_at=self.funded_at,
            now=self.now + self.requester.skew,
        )
        return refused and refused.reason

    def deliver(self, report: Any) -> int:
        """Ask again until it is paid, as the provider does; returns how long that took."""
        waited = 0
        while (refusal := self.judge(report)) is not None:
            assert refusal in EARLY, "an honest report may be early, and nothing else"
            self.now += 500
            waited += 500
            assert waited <= 400_000, "an honest report is never paid"
        if self.requester.state.stage == "funded":
            at = self.now + self.requester.skew
            self.requester.learn(ContainerStarted(at=at, started_at=report.record.started_at))
        for side in (self.provider, self.requester):
            side.settle(report, self.now)
        return waited


SKEWS = st.integers(-60_000, 60_000)
DELAYS = st.lists(st.tuples(st.integers(0, 8_000), st.integers(0, 1_500), st.booleans()), max_size=15)


@settings(deadline=None)
@given(st.fixed_dictionaries(TERMS_OF), SKEWS, SKEWS, DELAYS)
def test_both_sides_compute_the_same_amount(terms: dict[str, int], skew: int, other_skew: int, steps: Any):
    trade = Trade(terms, skew, other_skew)
    trade.now += 3_000
    trade.start()
    for pause, travel, freeze in steps:
        if freeze:
            trade.provider.learn(ContainerPaused(at=trade.now + skew))
        trade.now += pause
        report = trade.report()
        trade.now += travel
        trade.deliver(report)
        if freeze:
            trade.provider.learn(ContainerResumed(at=trade.now + skew))
    at = trade.now + skew
    trade.provider.learn(ContainerExited(at=at, reason=ExitReason.OK, exit_code=0, finished_at=at))
    trade.requester.learn(ContainerExited(at=trade.now + other_skew, reason=ExitReason.OK, exit_code=0))
    trade.deliver(trade.report(final=True))
    one, other = trade.provider.state, trade.requester.state
    assert (one.paid, one.gpu_ms, one.sequence) == (other.paid, other.gpu_ms, other.sequence)
    assert one.paid == money.amount_due(one.price, one.gpu_ms) <= one.cap
    assert trade.provider.chain.head == trade.requester.chain.head


@settings(deadline=None)
@given(st.fixed_dictionaries(TERMS_OF), SKEWS, SKEWS, st.lists(st.integers(0, 8_000), max_size=15))
def test_reports_that_travel_evenly_are_paid_at_once(terms: dict[str, int], skew: int, other_skew: int, steps: Any):
    """While no message takes two seconds longer than the first did, no honest report at its tick waits."""
    trade = Trade(terms, skew, other_skew)
    trade.start()
    for pause in steps:
        trade.now += TERMS.tick_ms + pause
        report = trade.report()
        trade.now += pause % (CLOCK_TOLERANCE_MS // 2)
        assert trade.deliver(report) == 0


@settings(deadline=None)
@given(
    st.fixed_dictionaries(TERMS_OF),
    st.lists(st.tuples(st.integers(0, 8_000), st.integers(0, 10)), min_size=1, max_size=15),
)
def test_a_lying_meter_gains_the_tolerance_at_most(terms: dict[str, int], steps: Any):
    """It claims whatever it likes; what is paid is bounded by our own stopwatch, once and for all reports together."""
    trade = Trade(terms, 0, 0)
    trade.start()
    for pause, factor in steps:
        trade.now += pause
        honest = trade.report().record
        claimed = max(trade.provider.chain.gpu_ms, honest.gpu_ms * factor)
        amount = money.amount_due(terms["price"], claimed)
        report = SELLER.sign(replace(honest, gpu_ms=claimed, amount=amount))
        if trade.judge(report) is None:
            trade.deliver(report)
    passed = trade.now - NOW + CLOCK_TOLERANCE_MS
    assert trade.requester.state.gpu_ms <= terms["slots"] * passed
    assert trade.requester.state.paid <= trade.requester.state.cap
