"""Proofs of contradictions: found wherever they hide, written in one form, and nothing that is not signed passes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ledger.create2 import DelayTerms
from ledger.statement import with_account_signature
from market.errors import FabricError, InvalidRequest
from market.records import UsageReport
from market.signing import verify
from market.usage import ReportChain
from node.equivocation_file import find_contradiction, read_proof, write_proof
from node.receipt_lines import Answered, LeaseReceipts
from tests.fakes.escrow_on_revm import EscrowOnRevm
from tests.fakes.receipts import DOMAIN, a_receipt, a_signed_lease, refused, some_receipts
from tests.fakes.samples import NOW, PAYEE, PAYEE_KEY, SELLER, SESSION, SESSION_KEY
from tests.fakes.stake_model import RevertError

KEPT = some_receipts()
TWIN = a_receipt(KEPT, ReportChain(), 1, lane=0)
WITH_TWIN = replace(KEPT, answers=(*KEPT.answers, refused(KEPT, TWIN)))
PROOF = write_proof(*find_contradiction([WITH_TWIN]))


def test_a_receipt_that_was_paid_and_its_refused_twin_contradict_each_other():
    domain, proof = find_contradiction([WITH_TWIN])
    assert (domain, proof.provider, proof.kind, proof.sequence) == (DOMAIN, PAYEE, 0, 1)
    assert proof.body_a < proof.body_b


def test_what_two_nodes_kept_is_compared():
    other = replace(KEPT, answers=(Answered(report=TWIN.raw, at=NOW),))
    assert find_contradiction([KEPT, other]) == find_contradiction([other, KEPT]) == find_contradiction([WITH_TWIN])


def test_two_leases_of_one_slot_under_one_number_contradict_each_other():
    one = LeaseReceipts(role="requester", job="a", gpu="", lease=a_signed_lease())
    other = replace(one, lease=a_signed_lease(bid_id=b"2" * 16))
    domain, proof = find_contradiction([one, other])
    assert (domain, proof.kind, proof.sequence) == (DOMAIN, 1, 5)
    later = replace(one, lease=a_signed_lease(bid_id=b"2" * 16, fencing=6))
    with pytest.raises(InvalidRequest):
        find_contradiction([one, later])


def unsigned(key: Any) -> UsageReport:
    bare = replace(TWIN.record, account_signature=b"")
    return bare if key is None else with_account_signature(bare, DOMAIN, key.sign)


@pytest.mark.parametrize("key", [None, SESSION_KEY], ids=["nobody", "another account"])
def test_what_the_account_did_not_sign_proves_nothing(key: Any):
    report = SELLER.sign(unsigned(key))
    kept = replace(KEPT, answers=(*KEPT.answers, Answered(report=report.raw, at=NOW)))
    with pytest.raises(InvalidRequest) as refused_:
        find_contradiction([kept])
    assert refused_.value.code == "no_contradiction"


@pytest.mark.parametrize("kept", [[], [KEPT], [KEPT, KEPT], [replace(KEPT, lease=b"junk")]])
def test_honest_receipts_contradict_nothing(kept: list[LeaseReceipts]):
    with pytest.raises(InvalidRequest) as refused_:
        find_contradiction(kept)
    assert refused_.value.code == "no_contradiction"


def test_junk_among_the_answers_is_passed_over():
    kept = replace(WITH_TWIN, answers=(Answered(report=b"junk", at=1), *WITH_TWIN.answers))
    assert find_contradiction([kept])[1].sequence == 1


def test_a_proof_is_read_back_and_checked():
    assert read_proof(PROOF) == find_contradiction([WITH_TWIN])
    assert json.loads(PROOF)["kind"] == "receipt"


@pytest.mark.parametrize("field", sorted(set(json.loads(PROOF)) - {"format"}))
def test_every_field_of_a_proof_counts(field: str):
    content = json.loads(PROOF)
    value = content[field]
    content[field] = (
        value + 1
        if isinstance(value, int)
        else "grant"
        if field == "kind"
        else value[:-1] + ("0" if value[-1] != "0" else "1")
    )
    with pytest.raises(FabricError):
        read_proof(json.dumps(content).encode())


def test_twice_the_same_is_no_proof():
    content = json.loads(PROOF)
    content |= {"body_b": content["body_a"], "signature_b": content["signature_a"]}
    with pytest.raises(InvalidRequest) as refused_:
        read_proof(json.dumps(content).encode())
    assert refused_.value.code == "same_statement"


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[]", b"5", b"[" * 10**5, *(
        json.dumps({**json.loads(PROOF), **changes}).encode()
        for changes in ({"format": "x"}, {"kind": 0}, {"kind": []}, {"sequence": -1}, {"sequence": 2**64},
                        {"sequence": True}, {"chain_id": "1"}, {"escrow": 5}, {"subject": "0x00"}, {"provider": None})
    )],
)  # fmt: skip
def test_what_is_no_proof_is_refused(raw: bytes):
    with pytest.raises(InvalidRequest) as refused_:
        read_proof(raw)
    assert refused_.value.code == "not_a_proof"


def test_a_twin_is_signed_by_the_provider_s_own_account():
    assert verify(TWIN.raw, UsageReport).record.account_signature != b""
    assert PAYEE_KEY.address == PAYEE


@pytest.mark.parametrize("kind", ["receipt", "grant"])
def test_the_shipped_escrow_takes_half_of_the_stake_for_a_proof_from_a_file(kind: str):
    escrow = EscrowOnRevm(terms=DelayTerms(60, 1), funds=0)
    escrow.set_time(1_000)
    escrow.mint(PAYEE, 1_000)
    escrow.approve(PAYEE, 1_000)
    escrow.add_stake(PAYEE, 1_000)
    here = {"chain_id": escrow.domain.chain_id, "escrow": escrow.domain.escrow}
    one = some_receipts(**here)
    if kind == "receipt":
        one = replace(one, answers=(*one.answers, refused(one, a_receipt(one, ReportChain(), 1, lane=0))))
        leases = [one]
    else:
        leases = [one, replace(one, answers=(), lease=a_signed_lease(bid_id=b"2" * 16, **here))]
    domain, proof = read_proof(write_proof(*find_contradiction(leases)))
    assert domain == escrow.domain
    escrow.slash(SESSION, proof)
    assert escrow.stake_of(PAYEE).amount == 500
    assert escrow.token_balance(SESSION) == 125
    with pytest.raises(RevertError):
        escrow.slash(SESSION, proof)
