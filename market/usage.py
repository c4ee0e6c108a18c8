"""Usage reports: how a provider writes one, and what a requester demands before it pays.

The requester believes only its own clock. A report may not claim more GPU-milliseconds than have passed here since
the lane was funded; once the first report came, not more than since then either; once the job is over here, not more
than a tick and the grace time beyond. And no report may claim more than that at once: an honest provider freezes a job
that is unpaid for so long, so what is asked beyond it is its own downtime. That bounds what a lying meter can take.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from market import money
from market.lease import LeaseState, Stage
from market.records import UsageReport
from market.signing import Verified, digest

CLOCK_TOLERANCE_MS = 2_000
"""How far a meter may run ahead of the requester's own stopwatch: scheduling delays and message travel time."""
FIRST_PREVIOUS = bytes(32)


class ReportRefusal(StrEnum):
    """Why a requester does not pay on a report."""

    WRONG_LEASE = "wrong_lease"
    BROKEN_CHAIN = "broken_chain"
    WRONG_AMOUNT = "wrong_amount"
    OVER_METERED = "over_metered"
    WENT_BACKWARDS = "went_backwards"
    OVER_CAP = "over_cap"
    LEASE_OVER = "lease_over"
    OUTPUTS_PENDING = "outputs_pending"
    NOT_FUNDED = "not_funded"
    TOO_SOON = "too_soon"
    WRONG_PRICE = "wrong_price"
    WRONG_LANE_SUM = "wrong_lane_sum"
    UNSIGNED_RECEIPT = "unsigned_receipt"
    WRONG_ACCOUNT = "wrong_account"
    OVER_BALANCE = "over_balance"
    UNKNOWN_LEASE = "unknown_lease"

    @property
    def passes(self) -> bool:
        """Whether the very same report may be paid later: its provider asks again until its grace is over. What does
        not pass is a matter of the report itself or of the lease, and asking again is work given away."""
        return self in _PASSING


_PASSING = frozenset(
    {
        ReportRefusal.OUTPUTS_PENDING,
        ReportRefusal.NOT_FUNDED,
        ReportRefusal.TOO_SOON,
        ReportRefusal.OVER_METERED,
        ReportRefusal.OVER_BALANCE,
        # A first report may be quicker than the answer that grants the lease.
        ReportRefusal.UNKNOWN_LEASE,
    }
)


class Refused(Struct, frozen=True):
    """A report that is not paid: why, what would have been, and what was there instead."""

    reason: ReportRefusal
    expected: str = ""
    found: str = ""


class ReportChain(Struct, frozen=True, kw_only=True):
    """Where the chain of reports of a lease stands: the last accepted one and the requester's stopwatch.

    ``first_seen_at`` and ``first_gpu_ms`` anchor the stopwatch at the first report, by the requester's clock. ``lane``
    is what the newest voucher that answered this lease is for.
    """

    sequence: int = 0
    head: bytes = FIRST_PREVIOUS
    gpu_ms: int = 0
    first_seen_at: int = 0
    first_gpu_ms: int = 0
    last_seen_at: int = 0
    final: bool = False
    lane: int = 0


def judge_report(
    report: Verified[UsageReport],
    chain: ReportChain,
    state: LeaseState,
    *,
    lease_id: bytes,
    funded_at: int,
    now: int,
    lane_signed: int | None = None,
) -> Refused | None:
    """None when the report is to be paid, else why not. The account's signature is checked elsewhere.

    Args:
        report: signature already verified; that its author is the lease's provider is checked by the caller.
        chain: the reports accepted so far.
        state: the lease as this side knows it.
        lease_id: the lease this chain belongs to.
        funded_at: when, by our clock, the lane was funded: no container started before.
        now: our clock, UTC milliseconds.
        lane_signed: what our newest voucher of the lane is for; None for a lease of an older node, whose reports name
            neither price nor lane.
    """
    record = report.record
    if record.lease_id != lease_id:
        return Refused(ReportRefusal.WRONG_LEASE, lease_id.hex(), record.lease_id.hex())
    return (
        _judge_chain(record, chain, state, now)
        or _judge_amount(record, state)
        or (None if lane_signed is None else _judge_receipt(record, chain, state, lane_signed))
        or _judge_time(record, state, most=_most(chain, state, funded_at=funded_at, now=now))
    )


def _judge_chain(record: UsageReport, chain: ReportChain, state: LeaseState, now: int) -> Refused | None:
    if record.sequence != chain.sequence + 1:
        return Refused(ReportRefusal.BROKEN_CHAIN, f"number {chain.sequence + 1}", f"number {record.sequence}")
    if record.previous != chain.head:
        return Refused(ReportRefusal.BROKEN_CHAIN, f"after {chain.head.hex()}", f"after {record.previous.hex()}")
    if record.gpu_ms < chain.gpu_ms:
        return Refused(ReportRefusal.WENT_BACKWARDS, f"at least {chain.gpu_ms} ms", f"{record.gpu_ms} ms")
    if not record.final and chain.sequence and 0 <= now - chain.last_seen_at < state.terms.tick_ms // 2:
        # Each report costs both sides a durable write; without a rhythm one lease could fill a disk. Our own clock set
        # back must not silence an honest provider.
        return Refused(ReportRefusal.TOO_SOON, f"{state.terms.tick_ms // 2} ms after the one before")
    return None


def _judge_time(record: UsageReport, state: LeaseState, *, most: int) -> Refused | None:
    if record.gpu_ms and not (record.started_at or state.started_at):
        return Refused(ReportRefusal.OVER_METERED, "nothing before a start", f"{record.gpu_ms} ms")
    if record.gpu_ms > most:
        return Refused(ReportRefusal.OVER_METERED, f"at most {most} ms by now", f"{record.gpu_ms} ms")
    return None


def _judge_amount(record: UsageReport, state: LeaseState) -> Refused | None:
    due = money.amount_due(state.price, record.gpu_ms)
    if record.amount != due:
        return Refused(ReportRefusal.WRONG_AMOUNT, f"{due} for {record.gpu_ms} ms", str(record.amount))
    if record.amount > state.cap:
        return Refused(ReportRefusal.OVER_CAP, f"at most {state.cap}", str(record.amount))
    return None


def _judge_receipt(record: UsageReport, chain: ReportChain, state: LeaseState, signed: int) -> Refused | None:
    if record.price != state.price:
        return Refused(ReportRefusal.WRONG_PRICE, str(state.price), str(record.price))
    if not chain.lane <= record.lane_before <= signed:
        # Vouchers of other leases on the lane may be on their way: between what this lease was answered with and what
        # we have signed, the provider may stand anywhere.
        expected = f"the lane at {chain.lane} to {signed} before"
        return Refused(ReportRefusal.WRONG_LANE_SUM, expected, f"at {record.lane_before}")
    after = record.lane_before + record.amount - money.amount_due(state.price, chain.gpu_ms)
    if record.lane_after != after:
        return Refused(ReportRefusal.WRONG_LANE_SUM, f"the lane at {after} after", f"at {record.lane_after}")
    return None


def extend(chain: ReportChain, report: Verified[UsageReport], now: int, *, lane: int = 0) -> ReportChain:
    """The chain after an accepted report. ``lane`` is what the voucher that answered it is for, 0 without one."""
    record = report.record
    first = chain.sequence == 0
    return ReportChain(
        sequence=record.sequence,
        head=report.id,
        gpu_ms=record.gpu_ms,
        first_seen_at=now if first else chain.first_seen_at,
        first_gpu_ms=record.gpu_ms if first else chain.first_gpu_ms,
        last_seen_at=now,
        final=record.final,
        lane=max(chain.lane, lane),
    )


def metered_gpu_ms(state: LeaseState, now: int) -> int:
    """GPU-milliseconds to bill: the engine's wall time of the container, less pauses, times the slots.

    Never above the agreed maximum duration, whatever the stop took.
    """
    if not state.started_at:
        return 0
    end = state.finished_at or now
    paused = state.paused_ms + (max(0, end - state.paused_at) if state.paused_at else 0)
    wall = min(max(0, end - state.started_at - paused), state.max_duration_ms)
    return max(state.gpu_ms, wall * state.slots)


def write_report(
    state: LeaseState,
    *,
    provider: bytes,
    lease_id: bytes,
    chain: ReportChain,
    now: int,
    cpu_ms: int = 0,
    memory_peak_mib: int = 0,
    final: bool = False,
    detail: str = "",
    lane_signed: int = 0,
    fencing: int = 0,
) -> UsageReport:
    """The provider's next report: the meter reading now, chained to the last one that was paid.

    It asks for at most a tick and the grace time at once. ``lane_signed`` is what the lane's newest voucher is for.
    """
    gpu_ms = max(chain.gpu_ms, min(metered_gpu_ms(state, now), chain.gpu_ms + _step(state)))
    amount, before = (money.amount_due(state.price, time) for time in (gpu_ms, chain.gpu_ms))
    return UsageReport(
        provider=provider,
        lease_id=lease_id,
        sequence=chain.sequence + 1,
        previous=chain.head,
        measured_at=now,
        started_at=state.started_at,
        gpu_ms=gpu_ms,
        cpu_ms=cpu_ms,
        memory_peak_mib=memory_peak_mib,
        amount=amount,
        final=final,
        exit_reason=str(state.exit_reason or "") if final else "",
        exit_code=state.exit_code if final else -1,
        detail=detail[:512] if final else "",
        price=state.price,
        lane_before=lane_signed,
        lane_after=lane_signed + amount - before,
        fencing=fencing,
    )


def receipt_id(report_id: bytes, voucher_row: bytes) -> bytes:
    """The name of a receipt: what was used, as signed by the provider, and what was paid, as signed by the payer."""
    return digest(b"computefabric/receipt/1\0", report_id, voucher_row)


def _step(state: LeaseState) -> int:
    """GPU-milliseconds that may run unpaid: what the lease's printed exposure is the price of."""
    return state.slots * (state.terms.tick_ms + state.terms.grace_ms)


def _most(chain: ReportChain, state: LeaseState, *, funded_at: int, now: int) -> int:
    slots = state.slots
    if state.stage is Stage.ENDING:
        # Our stopwatch must not go on for a job that is over: its provider has a whole deadline to send reports in.
        now = min(now, state.since + state.terms.tick_ms + state.terms.grace_ms)
    elapsed = slots * (max(0, now - funded_at) + CLOCK_TOLERANCE_MS)
    if chain.sequence:
        # Both: with the first report as the only anchor the tolerance would be granted twice, before it and after.
        since_first = chain.first_gpu_ms + slots * (max(0, now - chain.first_seen_at) + CLOCK_TOLERANCE_MS)
        elapsed = min(elapsed, since_first)
    return min(elapsed, chain.gpu_ms + _step(state) + slots * CLOCK_TOLERANCE_MS)
