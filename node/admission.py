"""What is let in from gossip, decided before it is forwarded or stored. Pure; cheap checks first, signatures last.

REJECT says the sender is at fault and lowers its budget. IGNORE says the message is merely useless here: late,
known already, or about a version we have passed; honest peers send those too. POSTPONE says that the sender has shown
us more than its share of new records: whether the message is any good was not looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from market import codec
from market.errors import PeerFault
from market.records import Bid, Offer
from market.signing import Verified, verify
from node import wire
from node.ports import Verdict

R = TypeVar("R", Offer, Bid)
RECORDS_KEPT, BYTES_KEPT = 4096, 4 * 1024 * 1024
"""More than a full answer with a book holds, so that the next one is read for almost nothing."""


class Judged(Struct, Generic[R], frozen=True, kw_only=True):
    """The verdict on a gossip message, the records in it that are worth keeping, and why it was not accepted."""

    verdict: Verdict
    records: tuple[Verified[R], ...] = ()
    reason: str = ""


class VerifiedRecords(Generic[R]):
    """The records of one kind that were verified last, by their exact bytes: what is said again is not checked
    again. Bounded; those not heard for the longest time go first."""

    def __init__(self, kind: type[R], *, kept: int = RECORDS_KEPT) -> None:
        self._kind: type[R] = kind
        self._kept = kept
        self._records: OrderedDict[bytes, Verified[R]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, raw: bytes) -> bool:
        return raw in self._records

    def verify(self, raw: bytes) -> Verified[R]:
        """The record in these bytes.

        Raises:
            PeerFault: as :func:`market.signing.verify`.
        """
        if (known := self._records.get(raw)) is not None:
            self._records.move_to_end(raw)
            return known
        record = self._records[raw] = verify(raw, self._kind)
        self._bytes += len(raw)
        while len(self._records) > self._kept or self._bytes > BYTES_KEPT:
            self._bytes -= len(self._records.popitem(last=False)[0])
        return record


def judge_batch(
    message: bytes, verified: VerifiedRecords[R], now: int, *, afford: Callable[[int], bool] = lambda count: True
) -> Judged[R]:
    """Judge a gossip message: a canonical list of signed envelopes of one kind.

    The conditions, in order: size (REJECT), form (REJECT), number of records (REJECT), whether the sender can
    ``afford`` that many records that are new to us (POSTPONE), each record's form, bounds and signature (REJECT),
    issued in the future beyond the tolerated skew (IGNORE), expired (IGNORE).

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
    new = sum(raw not in verified for raw in dict.fromkeys(envelopes))
    if new and not afford(new):
        return Judged(verdict=Verdict.POSTPONE, reason="too_many_records")
    return _judge_records(envelopes, verified, now)


def pack_batch(records: list[Verified[R]]) -> bytes:
    """The gossip message for these records, as :func:`judge_batch` reads it."""
    return codec.pack([record.raw for record in records])


def _judge_records(envelopes: list[bytes], verified: VerifiedRecords[R], now: int) -> Judged[R]:
    live: list[Verified[R]] = []
    reason = "expired"
    for raw in envelopes:
        try:
            record = verified.verify(raw)
        except PeerFault as fault:
            return Judged(verdict=Verdict.REJECT, reason=fault.code)
        if record.record.issued_at > now + wire.MAX_CLOCK_SKEW_MS:
            reason = "from_the_future"
        elif record.record.expires_at > now:
            live.append(record)
    if not live:
        return Judged(verdict=Verdict.IGNORE, reason=reason)
    return Judged(verdict=Verdict.ACCEPT, records=tuple(live))
