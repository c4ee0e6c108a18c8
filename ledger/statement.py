"""Signs and checks what a provider's account states about its leases (``market/statements.py``). Pure.

A statement is signed for one escrow on one chain, like a voucher: elsewhere it is a signature of somebody else.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ledger.ports import Contradiction
from ledger.voucher import Domain, recover, statement_digest
from market.errors import PeerFault
from market.records import Lease, UsageReport
from market.signing import Verified
from market.statements import Equivocation, Statement, grants_of, read_grants, receipt_of

Sign = Callable[[bytes], bytes]
"""A compact signature (64 bytes) of the account that is paid, over a 32-byte digest."""


def digest_of(domain: Domain, statement: Statement) -> bytes:
    """What the account signs."""
    return statement_digest(
        domain, statement.kind, subject=statement.subject, sequence=statement.sequence, body=statement.body
    )


def with_account_signature(report: UsageReport, domain: Domain, sign: Sign) -> UsageReport:
    """A report that is a receipt: before its node signs it."""
    return replace(report, account_signature=sign(digest_of(domain, receipt_of(report))))


def with_grants(lease: Lease, machine: str, domain: Domain, sign: Sign) -> Lease:
    """A lease that binds its provider's account to its slots: before its node signs it."""
    bare = replace(lease, grants=())
    return replace(lease, grants=tuple(sign(digest_of(domain, grant)) for grant in grants_of(bare, machine)))


def check_statement(domain: Domain, account: bytes, statement: Statement) -> None:
    """Refuse a statement that ``account`` did not make for this escrow.

    Raises:
        PeerFault: ``unsigned_statement``, or ``wrong_account``: another account signed, or this one for another chain,
            escrow or record.
    """
    if not statement.signature:
        raise PeerFault("a statement that its account did not sign", code="unsigned_statement")
    try:
        signer = recover(digest_of(domain, statement), statement.signature)
    except PeerFault as fault:
        raise PeerFault(fault.message, code="wrong_account") from None
    if signer != account:
        raise PeerFault(
            f"signed by 0x{signer.hex()}, or for another chain or record, not by 0x{account.hex()}",
            code="wrong_account",
        )


def check_grants(domain: Domain, account: bytes, lease: Verified[Lease]) -> None:
    """Refuse a lease whose slots ``account`` did not grant.

    Raises:
        PeerFault: as :func:`check_statement`.
    """
    for grant in read_grants(lease):
        check_statement(domain, account, grant)


def contradiction_of(domain: Domain, account: bytes, proof: Equivocation) -> Contradiction:
    """The proof in the form that the escrow takes, both signatures checked.

    Raises:
        PeerFault: as :func:`check_statement`.
    """
    for statement in (proof.a, proof.b):
        check_statement(domain, account, statement)
    return Contradiction(
        provider=account,
        kind=int(proof.a.kind),
        subject=proof.a.subject,
        sequence=proof.a.sequence,
        body_a=proof.a.body,
        signature_a=proof.a.signature,
        body_b=proof.b.body,
        signature_b=proof.b.signature,
    )
