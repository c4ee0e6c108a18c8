"""However a provider's earnings are grouped, the lines add up to its receipts, to the unit."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledger.ports import JournalEntry
from market.lease import FinalPaymentReceived, PaymentReceived
from node.drawn import drawn_view
from node.earnings import GROUPINGS, Earned, earned_of, group_earnings

DAY_MS = 86_400_000
STEPS = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**9), st.integers(0, 3 * DAY_MS)), max_size=12)
LEASES = st.lists(st.tuples(st.sampled_from(["A100", "RTX4090", "none"]), STEPS), max_size=8)


def stream(steps: list[tuple[int, int, int]], start: int) -> tuple[list[JournalEntry], int, int]:
    """A lease's stream with cumulative payments, and what its receipt says in the end: amount and GPU time."""
    entries, amount, gpu_ms, at = [], 0, 0, start
    for sequence, (more, longer, later) in enumerate(steps, 1):
        amount, gpu_ms, at = amount + more, gpu_ms + longer, at + later
        kind = FinalPaymentReceived if sequence == len(steps) else PaymentReceived
        fact = kind(at=at, sequence=sequence, gpu_ms=gpu_ms, amount=amount)
        noise = JournalEntry(position=1, stream="lease/x", kind="report_paid", at_ms=at, body=b"\xff")
        body = msgspec.msgpack.encode(fact)
        entry = JournalEntry(position=1, stream="lease/x", kind=kind.__name__, at_ms=at, body=body)
        entries += [noise, entry]
    return entries, amount, gpu_ms


@given(leases=LEASES, start=st.integers(0, 2 * 10**12))
def test_every_grouping_adds_up_to_the_receipts(leases: list[tuple[str, list[tuple[int, int, int]]]], start: int):
    found: list[Earned] = []
    receipts = time = 0
    for number, (gpu, steps) in enumerate(leases):
        entries, amount, gpu_ms = stream(steps, start)
        found += earned_of(f"lease{number}", gpu, entries)
        receipts, time = receipts + amount, time + gpu_ms
    for by in GROUPINGS:
        view = group_earnings(found, by, drawn_view([]))
        assert view["total"]["units"] == receipts == sum(line["amount"]["units"] for line in view["lines"])
        assert view["gpu_ms"] == time == sum(line["gpu_ms"] for line in view["lines"])
        assert len({line["key"] for line in view["lines"]}) == len(view["lines"])
    jobs = {line["key"]: line["amount"]["units"] for line in group_earnings(found, "job", drawn_view([]))["lines"]}
    for number, (_, steps) in enumerate(leases):
        assert jobs.get(f"lease{number}", 0) == sum(more for more, _, _ in steps)
