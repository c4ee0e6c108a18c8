"""What is let in from gossip, decided before it is forwarded or stored. Pure; cheap checks first, signatures last.

REJECT says the sender is at fault and lowers its budget. IGNORE says the message is merely useless here: late, or a
little early; honest peers send those too. POSTPONE says that the sender has shown us more than its share of new
records: whether the message is any good was not looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

from market import codec
from market.errors import PeerFault
from market.offer_book import MAX_TTL_MS
from market.records import Bid, Offer
from market.signing import Claim, Verified, read
from node import wire
from node.ports import Verdict

R = TypeVar("R", Offer, Bid)
RECORDS_KEPT, BYTES_KEPT = 4096, 4 * 1024 * 1024
"""More than a full answer with a book holds, so that the next one is read for almost nothing."""
MAX_AHEAD_MS = 3 * wire.MAX_CLOCK_SKEW_MS
"""No honest forwarder brings a record dated further ahead of our clock than this."""
_FAULTS = ("lives_too_long", "far_future")


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

    def unknown(self, envelopes: list[bytes]) -> int:
        """How many different ones of these were not verified before."""
        different = set(envelopes)
        return len(different) - sum(map(self._records.__contains__, different))

    def read(self, raw: bytes) -> Verified[R] | Claim[R]:
        """The record in these bytes, verified if we know it, else as it claims to be.

        Raises:
            PeerFault: as :func:`market.signing.read`.
        """
        if (known := self._records.get(raw)) is not None:
            self._records.move_to_end(raw)
            return known
        return read(raw, self._kind, limit=wire.MAX_GOSSIP_RECORD)

    def check(self, said: Verified[R] | Claim[R]) -> Verified[R]:
        """Check the signature, unless that was done, and remember.

        Raises:
            PeerFault: as :meth:`market.signing.Claim.check`.
        """
        if isinstance(said, Verified):
            return said
        record = self._records[said.raw] = said.check()
        self._bytes += len(said.raw)
        while len(self._records) > self._kept or self._bytes > BYTES_KEPT:
            self._bytes -= len(self._records.popitem(last=False)[0])
        return record


def judge_batch(
    message: bytes, verified: VerifiedRecords[R], now: int, *, afford: Callable[[int], bool] = lambda count: True
) -> Judged[R]:
    """Judge a gossip message: a canonical list of signed envelopes of one kind.

    The conditions, in order: size (REJECT), form (REJECT), number of records (REJECT), then those of
    :func:`judge_records`.
    """
    if len(message) > wire.MAX_GOSSIP_BYTES:
        return Judged(verdict=Verdict.REJECT, reason="oversized")
    try:
        envelopes = codec.unpack_list(message, limit=wire.MAX_GOSSIP_BYTES)
    except PeerFault as fault:
        return Judged(verdict=Verdict.REJECT, reason=fault.code)
    if not 1 <= len(envelopes) <= wire.MAX_BATCH_RECORDS:
        return Judged(verdict=Verdict.REJECT, reason="batch_size")
    return judge_records(envelopes, verified, now, afford=afford)


def judge_records(
    envelopes: list[bytes],
    verified: VerifiedRecords[R],
    now: int,
    *,
    afford: Callable[[int], bool] = lambda count: True,
) -> Judged[R]:
    """Judge signed envelopes of one kind.

    The conditions, in order: whether the sender can ``afford`` as many records as are new to us (POSTPONE), the form
    and bounds of all (REJECT), each one's dates, the signatures of those in time (REJECT). Dates: to live longer than
    any record may, or to begin further in the future than an honest forwarder lets pass, is REJECT; to begin beyond the
    tolerated skew, or to have expired, is IGNORE. A record that is repeated counts once.

    Clocks may be wrong by the tolerated skew, ours and the forwarder's in opposite directions, and the forwarder lets
    pass what is one skew ahead of its own: up to three skews ahead of ours the fault may be ours, and to reject would
    punish one honest node for the clock of another. What has expired is never a fault: it may have been under way.
    """
    if (new := verified.unknown(envelopes)) and not afford(new):
        return Judged(verdict=Verdict.POSTPONE, reason="too_many_records")
    live: list[Verified[R] | Claim[R]] = []
    reason = ""
    try:
        for said in [verified.read(raw) for raw in dict.fromkeys(envelopes)]:
            if not (late := _misdated(said.record, now)):
                live.append(said)
            elif late in _FAULTS:
                return Judged(verdict=Verdict.REJECT, reason=late)
            reason = reason or late
        records = tuple(verified.check(said) for said in live)
    except PeerFault as fault:
        return Judged(verdict=Verdict.REJECT, reason=fault.code)
    if not records:
        return Judged(verdict=Verdict.IGNORE, reason=reason)
    return Judged(verdict=Verdict.ACCEPT, records=records)


def _misdated(record: Offer | Bid, now: int) -> str:
    """What is wrong with the dates of a record; empty when it is in time."""
    if record.expires_at - record.issued_at > MAX_TTL_MS:
        return "lives_too_long"
    if record.issued_at > now + MAX_AHEAD_MS:
        return "far_future"
    if record.issued_at > now + wire.MAX_CLOCK_SKEW_MS:
        return "from_the_future"
    return "" if record.expires_at > now else "expired"


def pack_batch(records: list[Verified[R]]) -> bytes:
    """The gossip message for these records, as :func:`judge_batch` reads it."""
    return codec.pack([record.raw for record in records])
