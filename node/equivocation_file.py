"""Proofs that a provider said two things at once: found among receipts and leases, and a file for the escrow. Pure."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from msgspec.structs import asdict

from ledger.ports import Contradiction
from ledger.statement import check_statement, contradiction_of
from ledger.voucher import Domain
from market.errors import InvalidRequest, PeerFault
from market.records import UsageReport
from market.signing import verify
from market.statements import Statement, StatementKind, equivocation, find_equivocation, read_grants, read_receipt
from node.plain_json import read_json
from node.receipt_audit import Deal, read_deal
from node.receipt_lines import LeaseReceipts

FORMAT = "computefabric/equivocation/1"
_KINDS = {kind.name.lower(): kind for kind in StatementKind}
_WORDS = {"subject": 32, "body_a": 32, "body_b": 32, "signature_a": 64, "signature_b": 64, "provider": 20}


def find_contradiction(leases: Iterable[LeaseReceipts]) -> tuple[Domain, Contradiction]:
    """The first contradiction among all that these leases' providers signed, refused receipts included.

    Raises:
        InvalidRequest: ``no_contradiction``.
    """
    stated: defaultdict[tuple[Domain, bytes], list[Statement]] = defaultdict(list)
    for kept in leases:
        try:
            deal = read_deal(kept)
        except PeerFault:
            continue
        stated[deal.domain, deal.lane.payee] += _statements(kept, deal)
    for (domain, account), statements in stated.items():
        if (proof := find_equivocation(statements)) is not None:
            return domain, contradiction_of(domain, account, proof)
    count = sum(map(len, stated.values()))
    raise InvalidRequest(
        f"none of the {count} statements that providers signed here contradicts another",
        code="no_contradiction",
        fix="give two files that hold different receipts or leases under one number",
    )


def write_proof(domain: Domain, proof: Contradiction) -> bytes:
    """The proof as a file."""
    words = {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in asdict(proof).items()}
    words["kind"] = StatementKind(proof.kind).name.lower()
    content = {"format": FORMAT, "chain_id": domain.chain_id, "escrow": "0x" + domain.escrow.hex(), **words}
    return json.dumps(content, indent=1).encode() + b"\n"


def read_proof(raw: bytes) -> tuple[Domain, Contradiction]:
    """Read :func:`write_proof` and check it: both signatures, and that the two contradict each other.

    Raises:
        InvalidRequest: as :func:`proof_of`.
        PeerFault: a signature is not the provider's.
    """
    try:
        content = read_json(raw)
    except ValueError:
        raise _not_a_proof() from None
    return proof_of(content)


def proof_of(content: Any) -> tuple[Domain, Contradiction]:
    """The proof in a file that was parsed already.

    Raises:
        InvalidRequest: ``not_a_proof``, or what :func:`market.statements.equivocation` says.
        PeerFault: a signature is not the provider's.
    """
    try:
        if content["format"] != FORMAT:
            raise ValueError
        words = {name: _hex(content[name], length) for name, length in _WORDS.items()}
        sequence, chain_id = (_number(content[name]) for name in ("sequence", "chain_id"))
        domain = Domain(chain_id=chain_id, escrow=_hex(content["escrow"], 20))
        kind = _KINDS[content["kind"]]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _not_a_proof() from None
    a, b = (
        Statement(
            kind=kind,
            subject=words["subject"],
            sequence=sequence,
            body=words[f"body_{which}"],
            signature=words[f"signature_{which}"],
        )
        for which in ("a", "b")
    )
    return domain, contradiction_of(domain, words["provider"], equivocation(a, b))


def _statements(kept: LeaseReceipts, deal: Deal) -> list[Statement]:
    """What the account of the lease really signed; what it did not is left out, and proves nothing."""
    found = list(read_grants(deal.lease)) if deal.lease.record.grants else []
    for answered in kept.answers:
        try:
            found.append(read_receipt(verify(answered.report, UsageReport)))
        except PeerFault:
            continue
    return [statement for statement in found if _is_signed(deal, statement)]


def _is_signed(deal: Deal, statement: Statement) -> bool:
    try:
        check_statement(deal.domain, deal.lane.payee, statement)
    except PeerFault:
        return False
    return True


def _not_a_proof() -> InvalidRequest:
    return InvalidRequest(
        "this is not a proof of two statements", code="not_a_proof", fix="'cfab receipts prove' writes one"
    )


def _hex(text: Any, length: int) -> bytes:
    raw = bytes.fromhex(text.removeprefix("0x"))
    if len(raw) != length:
        raise ValueError
    return raw


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError
    return value
