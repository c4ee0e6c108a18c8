"""What a provider's account on the chain states about a lease, and the proof that it stated two things at once. Pure.

A *receipt* is a usage report, under the name of its lease and its number; a *grant* is a lease, under the name of each
slot it holds and its fencing number. The account signs three words: the name, the number and the digest of the whole
record. Of one name and number only one record may exist: two signatures over different digests prove a lie to anybody
who knows the account, the escrow among them, without a look at what the records say.

How the words are signed is the ledger's business (``ledger/statement.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from market import codec
from market.errors import InvalidRequest, PeerFault
from market.records import Award, Lease, UsageReport
from market.signing import Verified, digest, verify

_SIGNED_LATER: dict[type, str] = {UsageReport: "account_signature", Lease: "grants"}
"""The field of a record that holds what its account signs, and is therefore left out of it."""


class StatementKind(IntEnum):
    """As the escrow numbers them."""

    RECEIPT = 0
    GRANT = 1


class Statement(Struct, frozen=True, kw_only=True):
    """One thing stated. ``subject`` and ``body`` are 32 bytes; ``signature`` is compact, empty before it is signed."""

    kind: StatementKind
    subject: bytes
    sequence: int
    body: bytes
    signature: bytes = b""


class Equivocation(Struct, frozen=True, kw_only=True):
    """Two statements that cannot both be true. ``a`` is the one with the smaller body, so that a pair has one form."""

    a: Statement
    b: Statement


def receipt_subject(provider: bytes, lease_id: bytes, fencing: int) -> bytes:
    """The name of a lease in receipts. The id alone is the requester's choice; the number is never given twice."""
    return digest(b"computefabric/receipt-lease/1\0", provider, fencing.to_bytes(8, "big"), lease_id)


def slot_subject(provider: bytes, machine: str, slot: int) -> bytes:
    """The name of a slot in grants."""
    return digest(b"computefabric/grant-slot/1\0", provider, slot.to_bytes(4, "big"), machine.encode())


def body_digest(record: Lease | UsageReport) -> bytes:
    """What an account signs of a record that it writes itself: all of it but the signatures of that account."""
    return _body_digest(codec.pack_record(record), type(record))


def receipt_of(report: UsageReport) -> Statement:
    """What the account is to sign for a report that is about to be signed by its node."""
    return _receipt(report, body_digest(report))


def read_receipt(report: Verified[UsageReport]) -> Statement:
    """What the account stated by a report. From the bytes as they came, so that fields of newer nodes count too."""
    return _receipt(report.record, _body_digest(_body_of(report.raw), UsageReport))


def grants_of(lease: Lease, machine: str) -> list[Statement]:
    """What the account is to sign for a lease that is about to be signed by its node, one for each slot."""
    return _grants(lease, machine, body_digest(lease))


def read_grants(lease: Verified[Lease]) -> list[Statement]:
    """What the account stated by a lease; without signatures where the lease has none, as older nodes write them.

    Raises:
        PeerFault: the award in the lease is not in order, or it has another number of grants than of slots.
    """
    machine = verify(lease.record.award, Award).record.machine
    return _grants(lease.record, machine, _body_digest(_body_of(lease.raw), Lease))


def equivocation(one: Statement, other: Statement) -> Equivocation:
    """The proof that two statements contradict each other. That they are signed is checked elsewhere.

    Raises:
        InvalidRequest: ``not_signed``, ``different_kind``, ``different_subject``, ``different_sequence`` or
            ``same_statement``: no contradiction.
    """
    if not one.signature or not other.signature:
        raise InvalidRequest("a statement without the account's signature proves nothing", code="not_signed")
    if one.kind is not other.kind:
        raise InvalidRequest("a receipt and a grant do not contradict each other", code="different_kind")
    if one.subject != other.subject:
        what = "leases" if one.kind is StatementKind.RECEIPT else "slots"
        raise InvalidRequest(f"the two are about different {what}", code="different_subject")
    if one.sequence != other.sequence:
        raise InvalidRequest(
            f"the two have different numbers, {one.sequence} and {other.sequence}", code="different_sequence"
        )
    if one.body == other.body:
        raise InvalidRequest("the two say the same", code="same_statement")
    first, second = sorted((one, other), key=lambda statement: statement.body)
    return Equivocation(a=first, b=second)


def find_equivocation(statements: Iterable[Statement]) -> Equivocation | None:
    """The first contradiction among signed statements of one account for one escrow, such as all receipts of a lease
    that two nodes kept; None when they agree."""
    known: dict[tuple[StatementKind, bytes, int], Statement] = {}
    for statement in statements:
        if not statement.signature:
            continue
        other = known.setdefault((statement.kind, statement.subject, statement.sequence), statement)
        if other.body != statement.body:
            return equivocation(other, statement)
    return None


def _receipt(report: UsageReport, body: bytes) -> Statement:
    return Statement(
        kind=StatementKind.RECEIPT,
        subject=receipt_subject(report.provider, report.lease_id, report.fencing),
        sequence=report.sequence,
        body=body,
        signature=report.account_signature,
    )


def _grants(lease: Lease, machine: str, body: bytes) -> list[Statement]:
    signatures = lease.grants or (b"",) * len(lease.slots)
    if len(signatures) != len(lease.slots):
        raise PeerFault("a lease with another number of grants than of slots", code="bad_grant")
    return [
        Statement(
            kind=StatementKind.GRANT,
            subject=slot_subject(lease.provider, machine, slot),
            sequence=lease.fencing,
            body=body,
            signature=signature,
        )
        for slot, signature in zip(lease.slots, signatures, strict=True)
    ]


def _body_of(raw: bytes) -> bytes:
    body: bytes = codec.unpack(raw, limit=len(raw))["body"]
    return body


def _body_digest(body: bytes, kind: type) -> bytes:
    record = codec.unpack(body, limit=len(body))
    record.pop(_SIGNED_LATER[kind], None)
    return digest(b"computefabric/statement/1\0", kind.__name__.encode(), b"\0", codec.pack(record))
