"""What a provider has earned, by day, GPU model or job, to the unit.

Each payment of a lease is a cumulative sum; what it adds to the one before belongs to the day on which its voucher was
on disk. So the lines of every grouping add up to the same total: that of the receipts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from ledger.lane import LaneBooks, summarise
from ledger.ports import Journal, JournalEntry
from market.codec import unpack_record
from market.duties import Role
from market.errors import InvalidRequest
from market.lease import FinalPaymentReceived, PaymentReceived
from market.records import Award, Lease
from market.signing import verify
from node.control import money, rfc3339
from node.control_shapes import DrawnView
from node.drawn import drawn_view
from node.lease_board import OPENED, PREFIX, Opened, decode_fact
from node.wallet_shapes import EarningsLine, EarningsView

GROUPINGS = ("day", "gpu", "job")


class Earned(Struct, frozen=True, kw_only=True):
    """What one payment added: token units and milliseconds of GPU time."""

    at_ms: int
    lease: str
    gpu: str
    amount: int
    gpu_ms: int


def earned_of(lease: str, gpu: str, entries: Iterable[JournalEntry]) -> list[Earned]:
    """The payments in a lease's stream, each with what it added to the one before. Pure."""
    found: list[Earned] = []
    amount = gpu_ms = 0
    for entry in entries:
        fact = decode_fact(entry)
        if isinstance(fact, PaymentReceived | FinalPaymentReceived):
            added, time = fact.amount - amount, fact.gpu_ms - gpu_ms
            found.append(Earned(at_ms=fact.at, lease=lease, gpu=gpu, amount=added, gpu_ms=time))
            amount, gpu_ms = fact.amount, fact.gpu_ms
    return found


def group_earnings(payments: Sequence[Earned], by: str, settled: DrawnView) -> EarningsView:
    """The payments added up, newest day first, else the most first. Pure.

    Args:
        settled: what became of the vouchers for them.

    Raises:
        InvalidRequest: ``bad_grouping``.
    """
    if by not in GROUPINGS:
        fix = f"one of {', '.join(GROUPINGS)}"
        raise InvalidRequest(f"earnings cannot be grouped by '{by[:40]}'", code="bad_grouping", fix=fix)
    groups: dict[str, list[Earned]] = {}
    for one in payments:
        groups.setdefault(_key(one, by), []).append(one)
    lines = [_line(key, members) for key, members in groups.items()]
    lines.sort(key=lambda line: line["key"], reverse=by == "day")
    if by != "day":
        lines.sort(key=lambda line: -line["amount"]["units"])
    return {
        "by": by,
        "total": money(sum(one.amount for one in payments)),
        "settled": settled,
        "gpu_ms": sum(one.gpu_ms for one in payments),
        "lines": lines,
    }


async def read_earnings(journal: Journal, gpu_of: Callable[[str], str]) -> list[Earned]:
    """All that this node was ever paid as a provider.

    Args:
        gpu_of: the GPU model of a machine that is sold now, by name; empty for one that is not.
    """
    found: list[Earned] = []
    for stream in await journal.streams(PREFIX):
        entries = await journal.read(stream)
        if not entries or entries[0].kind != OPENED:
            continue
        opened = msgspec.msgpack.decode(entries[0].body, type=Opened)
        if Role(opened.role) is Role.PROVIDER:
            machine = verify(verify(opened.lease, Lease).record.award, Award).record.machine
            found += earned_of(stream.removeprefix(PREFIX), gpu_of(machine) or f"machine {machine}", entries)
    return found


async def read_settled(journal: Journal) -> DrawnView:
    """What became of all vouchers that this node was ever given, on any escrow."""
    found = await journal.get_all("paid/")
    books = [unpack_record(raw, LaneBooks) for key, raw in found.items() if "/lane/" in key]
    return drawn_view(summarise(one) for one in books)


def _key(one: Earned, by: str) -> str:
    if by == "day":
        return rfc3339(one.at_ms)[:10]
    return one.gpu if by == "gpu" else one.lease


def _line(key: str, members: Sequence[Earned]) -> EarningsLine:
    return {
        "key": key,
        "amount": money(sum(one.amount for one in members)),
        "gpu_ms": sum(one.gpu_ms for one in members),
        "leases": len({one.lease for one in members}),
    }
