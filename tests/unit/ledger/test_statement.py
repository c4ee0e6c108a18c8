"""Statements of a provider's account: equal to what every EIP-712 wallet signs, bound to escrow, chain and record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.statement import (
    check_grants,
    check_statement,
    contradiction_of,
    digest_of,
    with_account_signature,
    with_grants,
)
from ledger.voucher import Domain, statement_digest
from market.errors import PeerFault
from market.statements import Statement, StatementKind, equivocation, read_grants, read_receipt
from tests.fakes.samples import (
    BUYER,
    CHAIN_ID,
    ESCROW,
    PAYEE,
    PAYEE_KEY,
    SELLER,
    SESSION_KEY,
    a_lease,
    a_report,
    an_award,
)
from tests.unit.ledger.test_voucher import domains, typed

DOMAIN = Domain(CHAIN_ID, ESCROW)
words = st.binary(min_size=32, max_size=32)


@given(domains, words, st.integers(0, 2**64 - 1), words)
def test_a_receipt_s_digest_is_that_of_the_general_encoder(domain: Domain, lease: bytes, seq: int, body: bytes) -> None:
    expected = typed(domain, "Receipt", "bytes32 lease,uint64 seq,bytes32 body", lease=lease, seq=seq, body=body)
    assert statement_digest(domain, StatementKind.RECEIPT, subject=lease, sequence=seq, body=body) == expected


@given(domains, words, st.integers(0, 2**64 - 1), words)
def test_a_grant_s_digest_is_that_of_the_general_encoder(domain: Domain, slot: bytes, seq: int, body: bytes) -> None:
    expected = typed(domain, "Grant", "bytes32 slot,uint64 seq,bytes32 body", slot=slot, seq=seq, body=body)
    assert statement_digest(domain, StatementKind.GRANT, subject=slot, sequence=seq, body=body) == expected


def a_receipt(**changes: object) -> Statement:
    return read_receipt(SELLER.sign(with_account_signature(a_report(**changes), DOMAIN, PAYEE_KEY.sign)))


def test_what_the_account_signed_passes() -> None:
    check_statement(DOMAIN, PAYEE, a_receipt())
    lease = SELLER.sign(with_grants(a_lease(BUYER.sign(an_award(slots=3))), "m0", DOMAIN, PAYEE_KEY.sign))
    check_grants(DOMAIN, PAYEE, lease)
    assert len({grant.signature for grant in read_grants(lease)}) == 3


@pytest.mark.parametrize(
    "domain", [Domain(CHAIN_ID + 1, ESCROW), Domain(CHAIN_ID, b"E" * 20)], ids=["other chain", "other escrow"]
)
def test_a_receipt_is_worth_nothing_on_another_chain_or_escrow(domain: Domain) -> None:
    with pytest.raises(PeerFault) as fault:
        check_statement(domain, PAYEE, a_receipt())
    assert fault.value.code == "wrong_account"


@pytest.mark.parametrize("signature", [SESSION_KEY.sign(b"x" * 32), bytes(64), b"\xff" * 64, b"short"])
def test_another_signature_is_the_wrong_account_s(signature: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        check_statement(DOMAIN, PAYEE, replace(a_receipt(), signature=signature))
    assert fault.value.code == "wrong_account"


def test_a_statement_without_signature_has_a_code_of_its_own() -> None:
    with pytest.raises(PeerFault) as fault:
        check_statement(DOMAIN, PAYEE, replace(a_receipt(), signature=b""))
    assert fault.value.code == "unsigned_statement"


def test_a_grant_of_one_lease_does_not_serve_for_another() -> None:
    one = with_grants(a_lease(), "m0", DOMAIN, PAYEE_KEY.sign)
    with pytest.raises(PeerFault):
        check_grants(DOMAIN, PAYEE, SELLER.sign(replace(one, fencing=one.fencing + 1)))


def test_a_contradiction_names_the_account_and_both_signatures() -> None:
    proof = equivocation(a_receipt(gpu_ms=1), a_receipt(gpu_ms=2))
    found = contradiction_of(DOMAIN, PAYEE, proof)
    assert (found.provider, found.kind, found.sequence) == (PAYEE, 0, 1)
    assert {found.signature_a, found.signature_b} == {proof.a.signature, proof.b.signature}
    assert PAYEE_KEY.sign(digest_of(DOMAIN, proof.a)) == found.signature_a


def test_a_contradiction_that_the_account_did_not_sign_is_none() -> None:
    forged = replace(a_receipt(gpu_ms=2), signature=SESSION_KEY.sign(b"x" * 32))
    with pytest.raises(PeerFault):
        contradiction_of(DOMAIN, PAYEE, equivocation(a_receipt(gpu_ms=1), forged))
