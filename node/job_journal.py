"""Jobs as the requester's journal has them: what was asked, what came of it, and the lease each became.

A job's history is two streams read together: ``job/<id>`` and, once there is one, its lease's. Both are ordered by
journal position, so the story a user sees is derived from the facts that money rests on and cannot differ from them.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from ledger.ports import Journal, JournalEntry, NewEntry
from market.lease import (
    CancelRequested,
    ContainerExited,
    ContainerStarted,
    DeadlinePassed,
    FinalPaymentReceived,
    LaneFunded,
    PaymentReceived,
    ReclaimConfirmed,
    SettlementConfirmed,
)
from market.records import JobSpec
from node.control import TERMINAL_EVENTS, rfc3339
from node.control import money as money_view
from node.job_file.request import JobRequest
from node.lease_board import PREFIX as LEASE_PREFIX
from node.lease_board import decode_fact

PREFIX = "job/"
SUBMITTED = "submitted"
LEASED = "leased"
CANCEL = "cancel_requested"
WAITING_FOR_OFFERS = "waiting_for_offers"
_SHOWN_NOTES = frozenset({"preparing", "outputs", "settled", "waiting", "running_dry", "topped_up"})


class GangPlace(Struct, frozen=True, kw_only=True):
    """A job's place in its gang: ``rank`` is 0 … ``size`` - 1."""

    gang: str
    rank: int
    size: int


class Submitted(Struct, frozen=True, kw_only=True):
    """The first entry of a job: the request as given, or a gang member's part of it, and the spec with its inputs
    hashed."""

    request: JobRequest
    spec: JobSpec
    salt: bytes
    gang: GangPlace | None = None


def job_entry(job_id: str, kind: str, at: int, detail: dict[str, Any]) -> NewEntry:
    """An entry that is also an event: its body is the event's detail as JSON."""
    return NewEntry(stream=PREFIX + job_id, kind=kind, at_ms=at, body=msgspec.json.encode(detail))


async def history(journal: Journal, job_id: str) -> list[dict[str, Any]]:
    """All events of a job so far, oldest first, numbered densely from 1."""
    entries = await journal.read(PREFIX + job_id)
    for entry in list(entries):
        if entry.kind == LEASED:
            lease = msgspec.json.decode(entry.body)["lease"]
            entries.extend(await journal.read(LEASE_PREFIX + lease))
    entries.sort(key=lambda entry: entry.position)
    events = [event for entry in entries if (event := describe(entry)) is not None]
    return [{"seq": number, **event} for number, event in enumerate(events, 1)]


def describe(entry: JournalEntry) -> dict[str, Any] | None:
    """The event an entry is for the job's owner; None for entries that are bookkeeping only."""
    if entry.stream.startswith(PREFIX):
        if entry.kind == SUBMITTED:
            return {"time": rfc3339(entry.at_ms), "type": "queued"}
        if entry.kind == CANCEL:
            return None
        return {"time": rfc3339(entry.at_ms), "type": entry.kind, **msgspec.json.decode(entry.body)}
    if entry.kind in _SHOWN_NOTES:
        return {"time": rfc3339(entry.at_ms), "type": entry.kind, **msgspec.json.decode(entry.body)}
    shown = _describe_fact(entry)
    return None if shown is None else {"time": rfc3339(entry.at_ms), **shown}


def _describe_fact(entry: JournalEntry) -> dict[str, Any] | None:
    match decode_fact(entry):
        case LaneFunded(amount=amount, transaction=transaction):
            return {"type": "funded", "transaction": _hex(transaction), "amount": money_view(amount)}
        case ContainerStarted(started_at=started_at):
            return {"type": "running", "started_at": rfc3339(started_at)}
        case PaymentReceived() | FinalPaymentReceived() as paid:
            return {
                "type": "paid",
                "sequence": paid.sequence,
                "gpu_ms": paid.gpu_ms,
                "amount": money_view(paid.amount),
                "final": isinstance(paid, FinalPaymentReceived),
            }
        case ContainerExited(reason=reason, exit_code=code):
            return {"type": "exited", "reason": str(reason), "exit_code": code}
        case CancelRequested():
            return {"type": "exited", "reason": "cancelled", "exit_code": -1}
        case DeadlinePassed():
            return {"type": "deadline_passed"}
        case SettlementConfirmed() | ReclaimConfirmed():
            return None  # the "settled" note beside it says more
    return None


def state_of(events: list[dict[str, Any]]) -> str:
    """The word ``cfab ps`` shows for a job with this history."""
    state = "queued"
    for event in events:
        kind = event["type"]
        if kind in TERMINAL_EVENTS:
            return str(kind)
        state = "settling" if kind == "paid" and event["final"] else _STATE_AFTER.get(kind, state)
    return state


_STATE_AFTER = {
    "queued": "queued",
    "matching": "matching",
    WAITING_FOR_OFFERS: "queued",
    "leased": "funding",
    "funded": "preparing",
    "running": "running",
    "exited": "ending",
    "deadline_passed": "ending",
}


def _hex(transaction: bytes) -> str | None:
    return "0x" + transaction.hex() if transaction else None
