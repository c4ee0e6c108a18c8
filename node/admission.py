"""What is let in from gossip, decided before it is forwarded or stored. Pure; cheap checks first, signatures last.

REJECT says the sender is at fault and lowers its budget. IGNORE says the message is merely useless here: late,
known already, or about a version we have passed; honest peers send those too.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

from market import codec
from market.errors import PeerFault
from market.records import Bid, Offer
from market.signing import Verified, verify
from node import wire
from node.ports import Verdict

R = TypeVar("R", Offer, Bid)


class Judged(Struct, Generic[R], frozen=True, kw_only=True):
    """The verdict on a gossip message, the records in it that are worth keeping, and why it was not accepted."""

    verdict: Verdict
    records: tuple[Verified[R], ...] = ()
    reason: str = ""


def judge_batch(message: bytes, kind: type[R], now: int) -> Judged[R]:
    """Judge a gossip message: a canonical list of signed envelopes of one kind.

    The conditions, in order: size (REJECT), form (REJECT), number of records (REJECT), each record's form, bounds
    and signature (REJECT), issued in the future beyond the tolerated skew (IGNORE), expired (IGNORE).

    Time is never a reason to reject: of two honest forwarders whose clocks differ, one would punish the other for an
    offer that was dated just so.
    """
    if len(message) > wire.MAX_GOSSIP_BYTES:
        return Judged(verdict=Verdict.REJECT, reason="oversized")
    try:
        envelopes = codec.unpack(message, limit=wire.MAX_GOSSIP_BYTES)
    except PeerFault as fault:
        return Judged(verdict=Verdict.REJECT, reason=fault.code)
    if not isinstance(envelopes, list) or not all(isinstance(raw, bytes) for raw in envelopes):
        return Judged(verdict=Verdict.REJECT, reason="not_a_batch")
    if not 1 <= len(envelopes) <= wire.MAX_BATCH_RECORDS:
        return Judged(verdict=Verdict.REJECT, reason="batch_size")
    return _judge_records(envelopes, kind, now)


def pack_batch(records: list[Verified[R]]) -> bytes:
    """The gossip message for these records, as :func:`judge_batch` reads it."""
    return codec.pack([record.raw for record in records])


def _judge_records(envelopes: list[bytes], kind: type[R], now: int) -> Judged[R]:
    live: list[Verified[R]] = []
    reason = "expired"
    for raw in envelopes:
        try:
            record = verify(raw, kind)
        except PeerFault as fault:
            return Judged(verdict=Verdict.REJECT, reason=fault.code)
        if record.record.issued_at > now + wire.MAX_CLOCK_SKEW_MS:
            reason = "from_the_future"
        elif record.record.expires_at > now:
            live.append(record)
    if not live:
        return Judged(verdict=Verdict.IGNORE, reason=reason)
    return Judged(verdict=Verdict.ACCEPT, records=tuple(live))
