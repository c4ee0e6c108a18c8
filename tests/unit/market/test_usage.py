"""Usage reports: what an honest meter writes is paid, and each way to cheat has its own refusal."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market import money
from market.lease import ContainerPaused, LeaseState, Stage, transition
from market.records import ExitReason, UsageReport
from market.signing import Verified
from market.usage import (
    CLOCK_TOLERANCE_MS,
    FIRST_PREVIOUS,
    Refused,
    ReportChain,
    ReportRefusal,
    extend,
    judge_report,
    metered_gpu_ms,
    receipt_id,
    write_report,
)
from tests.fakes.samples import NOW, SELLER, TERMS

LEASE = b"l" * 16
PRICE = 97_223
SLOTS = 2
FUNDED = NOW - 10_000


def a_state(**changes: Any) -> LeaseState:
    plain = LeaseState(
        price=PRICE,
        slots=SLOTS,
        max_duration_ms=600_000,
        terms=TERMS,
        stage=Stage.RUNNING,
        since=NOW,
        started_at=NOW,
        running_since=NOW,
        last_paid_at=NOW,
    )
    return replace(plain, **changes)


def signed(chain: ReportChain, gpu_ms: int, **changes: Any) -> Verified[UsageReport]:
    plain = UsageReport(
        provider=SELLER.key,
        lease_id=LEASE,
        sequence=chain.sequence + 1,
        previous=chain.head,
        measured_at=NOW,
        started_at=NOW,
        gpu_ms=gpu_ms,
        amount=money.amount_due(PRICE, gpu_ms),
    )
    return SELLER.sign(replace(plain, **changes))


def judge(report: Verified[UsageReport], chain: ReportChain, now: int, state: LeaseState | None = None) -> object:
    refused = judge_report(report, chain, state or a_state(), lease_id=LEASE, funded_at=FUNDED, now=now)
    return refused and refused.reason


FIRST = signed(ReportChain(), 0)
CHAIN = extend(ReportChain(), FIRST, NOW)


def test_an_honest_report_is_paid():
    assert judge(FIRST, ReportChain(), NOW) is None
    assert judge(signed(CHAIN, SLOTS * 5_000), CHAIN, NOW + 5_000) is None


def test_the_chain_follows_what_was_paid():
    assert (
        ReportChain(sequence=1, head=FIRST.id, gpu_ms=0, first_seen_at=NOW, first_gpu_ms=0, last_seen_at=NOW) == CHAIN
    )
    second = signed(CHAIN, 9_000, final=True)
    longer = extend(CHAIN, second, NOW + 5_000)
    assert longer == ReportChain(
        sequence=2,
        head=second.id,
        gpu_ms=9_000,
        first_seen_at=NOW,
        first_gpu_ms=0,
        last_seen_at=NOW + 5_000,
        final=True,
    )


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"lease_id": b"x" * 16}, ReportRefusal.WRONG_LEASE),
        ({"sequence": 1}, ReportRefusal.BROKEN_CHAIN),
        ({"sequence": 3}, ReportRefusal.BROKEN_CHAIN),
        ({"previous": FIRST_PREVIOUS}, ReportRefusal.BROKEN_CHAIN),
        ({"previous": b"x" * 32}, ReportRefusal.BROKEN_CHAIN),
        ({"amount": money.amount_due(PRICE, 5_000) + 1}, ReportRefusal.WRONG_AMOUNT),
        ({"amount": money.amount_due(PRICE, 5_000) - 1}, ReportRefusal.WRONG_AMOUNT),
        ({"amount": 0}, ReportRefusal.WRONG_AMOUNT),
    ],
)
def test_a_wrong_report_is_refused(changes: dict[str, Any], refusal: ReportRefusal):
    assert judge(signed(CHAIN, 5_000, **changes), CHAIN, NOW + 5_000) is refusal


def test_a_meter_never_goes_back():
    chain = extend(CHAIN, signed(CHAIN, 5_000), NOW + 5_000)
    assert judge(signed(chain, 4_999), chain, NOW + 9_000) is ReportRefusal.WENT_BACKWARDS
    assert judge(signed(chain, 5_000), chain, NOW + 9_000) is None


def test_the_meter_may_run_ahead_by_the_tolerance_and_no_further():
    most = SLOTS * (5_000 + CLOCK_TOLERANCE_MS)
    assert judge(signed(CHAIN, most), CHAIN, NOW + 5_000) is None
    assert judge(signed(CHAIN, most + 1), CHAIN, NOW + 5_000) is ReportRefusal.OVER_METERED


def test_the_tolerance_is_granted_once_and_not_with_every_report():
    chain, now = CHAIN, NOW
    for _ in range(50):
        now += 5_000
        most = SLOTS * (now - NOW + CLOCK_TOLERANCE_MS)
        assert judge(signed(chain, most + 1), chain, now) is ReportRefusal.OVER_METERED
        chain = extend(chain, signed(chain, most), now)
    assert chain.gpu_ms == SLOTS * (now - NOW + CLOCK_TOLERANCE_MS)


def test_a_first_report_that_used_up_the_tolerance_leaves_none_for_the_next():
    def judged(gpu_ms: int, chain: ReportChain, now: int) -> object:
        report = signed(chain, gpu_ms)
        return judge_report(report, chain, a_state(), lease_id=LEASE, funded_at=NOW, now=now)

    ahead = SLOTS * CLOCK_TOLERANCE_MS
    assert judged(ahead, ReportChain(), NOW) is None
    chain = extend(ReportChain(), signed(ReportChain(), ahead), NOW)
    assert judged(ahead + SLOTS * 5_000, chain, NOW + 5_000) is None
    refused = judged(ahead + SLOTS * 5_000 + 1, chain, NOW + 5_000)
    assert isinstance(refused, Refused)
    assert refused.reason is ReportRefusal.OVER_METERED


def test_our_stopwatch_stops_soon_after_the_job_has_ended_here():
    """A provider has a whole deadline to send reports in; the time until then is not running time."""
    ended = a_state(stage=Stage.ENDING, since=NOW + 5_000)
    longest = SLOTS * (5_000 + TERMS.tick_ms + TERMS.grace_ms + CLOCK_TOLERANCE_MS)
    chain = replace(CHAIN, gpu_ms=longest - 1_000)
    assert judge(signed(chain, longest), chain, NOW + 60_000, ended) is None
    assert judge(signed(chain, longest + 1), chain, NOW + 60_000, ended) is ReportRefusal.OVER_METERED
    assert judge(signed(chain, longest + 1), chain, NOW + 60_000) is None


def test_no_report_asks_for_more_than_may_run_unpaid():
    step = SLOTS * (TERMS.tick_ms + TERMS.grace_ms + CLOCK_TOLERANCE_MS)
    assert judge(signed(CHAIN, step), CHAIN, NOW + 60_000) is None
    assert judge(signed(CHAIN, step + 1), CHAIN, NOW + 60_000) is ReportRefusal.OVER_METERED


def test_a_provider_asks_for_its_downtime_piece_by_piece():
    step = SLOTS * (TERMS.tick_ms + TERMS.grace_ms)
    chain, now, asked = CHAIN, NOW + 100_000, []
    for _ in range(3):
        report = write_report(a_state(), provider=SELLER.key, lease_id=LEASE, chain=chain, now=now)
        asked.append(report.gpu_ms)
        chain = extend(chain, SELLER.sign(report), now)
    assert asked == [step, 2 * step, 3 * step]


def test_a_first_report_claims_no_more_than_the_time_since_funding():
    most = SLOTS * (10_000 + CLOCK_TOLERANCE_MS)
    assert judge(signed(ReportChain(), most), ReportChain(), NOW) is None
    assert judge(signed(ReportChain(), most + 1), ReportChain(), NOW) is ReportRefusal.OVER_METERED


def test_our_clock_set_back_makes_us_pay_less_and_not_fail():
    assert judge(signed(CHAIN, SLOTS * CLOCK_TOLERANCE_MS), CHAIN, NOW - 3_600_000) is None
    assert judge(signed(CHAIN, SLOTS * CLOCK_TOLERANCE_MS + 1), CHAIN, NOW - 3_600_000) is ReportRefusal.OVER_METERED


def test_reports_keep_a_rhythm_of_half_a_tick_at_least():
    half = a_state().terms.tick_ms // 2
    assert judge(signed(CHAIN, 0), CHAIN, NOW + half - 1) is ReportRefusal.TOO_SOON
    assert judge(signed(CHAIN, 0), CHAIN, NOW + half) is None
    assert judge(signed(CHAIN, 0, final=True), CHAIN, NOW) is None


def test_no_report_costs_more_than_the_cap():
    state = a_state(max_duration_ms=3_000)
    at_the_cap = signed(CHAIN, SLOTS * 3_000)
    assert at_the_cap.record.amount == state.cap
    assert judge(at_the_cap, CHAIN, NOW + 60_000, state) is None
    over = SLOTS * 3_000 + 11
    assert judge(signed(CHAIN, over), CHAIN, NOW + 60_000, state) is ReportRefusal.OVER_CAP


def test_nothing_is_billed_before_the_start():
    assert metered_gpu_ms(a_state(started_at=0), NOW + 10**6) == 0


def test_wall_time_less_pauses_times_slots_is_billed():
    state = transition(a_state(paused_ms=1_000), ContainerPaused(at=NOW + 5_000))
    assert metered_gpu_ms(state, NOW + 9_000) == SLOTS * 4_000
    assert metered_gpu_ms(a_state(finished_at=NOW + 7_000), NOW + 10**6) == SLOTS * 7_000


def test_the_maximum_duration_is_never_exceeded_whatever_the_stop_took():
    assert metered_gpu_ms(a_state(max_duration_ms=3_000, finished_at=NOW + 13_000), NOW) == SLOTS * 3_000


def test_an_engine_whose_clock_is_ahead_bills_nothing_rather_than_less_than_nothing():
    assert metered_gpu_ms(a_state(started_at=NOW + 5_000), NOW) == 0


def test_what_a_provider_writes_is_what_a_requester_pays():
    report = write_report(
        a_state(), provider=SELLER.key, lease_id=LEASE, chain=CHAIN, now=NOW + 5_000, cpu_ms=3, memory_peak_mib=4
    )
    assert (report.sequence, report.previous, report.gpu_ms) == (2, FIRST.id, SLOTS * 5_000)
    assert (report.cpu_ms, report.memory_peak_mib, report.final, report.exit_reason) == (3, 4, False, "")
    assert judge(SELLER.sign(report), CHAIN, NOW + 5_000) is None


def test_a_final_report_says_how_it_ended():
    state = a_state(exit_reason=ExitReason.OOM, exit_code=137, finished_at=NOW + 100)
    report = write_report(state, provider=SELLER.key, lease_id=LEASE, chain=CHAIN, now=NOW + 9_000, final=True)
    assert (report.final, report.exit_reason, report.exit_code, report.gpu_ms) == (True, "oom", 137, SLOTS * 100)


def test_a_receipt_is_named_by_both_signatures():
    assert receipt_id(b"r" * 32, b"v") != receipt_id(b"r" * 32, b"w")
    assert receipt_id(b"r" * 32, b"v") != receipt_id(b"s" * 32, b"v")
