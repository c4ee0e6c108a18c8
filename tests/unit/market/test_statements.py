"""What an account states, under which name and number, and when two statements contradict each other."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from market import codec
from market.errors import InvalidRequest, PeerFault
from market.records import Lease, UsageReport
from market.signing import verify
from market.statements import (
    Statement,
    StatementKind,
    body_digest,
    equivocation,
    find_equivocation,
    grants_of,
    read_grants,
    read_receipt,
    receipt_of,
    receipt_subject,
    slot_subject,
)
from tests.fakes.samples import BUYER, NOW, SELLER, a_lease, a_report, an_award

SIGNATURE = bytes(range(64))


def a_statement(**changes: Any) -> Statement:
    plain = Statement(kind=StatementKind.RECEIPT, subject=b"s" * 32, sequence=7, body=b"a" * 32, signature=b"1" * 64)
    return replace(plain, **changes)


def with_unknown_field(raw: bytes, domain: bytes) -> bytes:
    """The envelope of a node that knows one field more than we do."""
    body = codec.pack({**codec.unpack(codec.unpack(raw)["body"]), "zz_newer": 5})
    return codec.pack({"body": body, "key": SELLER.key, "sig": SELLER._private_key.sign(domain + body)})


def test_a_receipt_is_read_as_it_was_written_with_the_signature_left_out():
    written = a_report(gpu_ms=5)
    statement = receipt_of(written)
    signed = SELLER.sign(replace(written, account_signature=SIGNATURE))
    assert read_receipt(signed) == replace(statement, signature=SIGNATURE)
    assert (statement.kind, statement.sequence) == (StatementKind.RECEIPT, written.sequence)
    assert statement.subject == receipt_subject(SELLER.key, written.lease_id, written.fencing)


def test_a_grant_is_read_as_it_was_written_one_for_each_slot():
    lease = a_lease(BUYER.sign(an_award(slots=2)), fencing=9)
    written = grants_of(lease, "m0")
    signed = SELLER.sign(replace(lease, grants=(SIGNATURE, SIGNATURE[::-1])))
    assert read_grants(signed) == [
        replace(written[0], signature=SIGNATURE),
        replace(written[1], signature=SIGNATURE[::-1]),
    ]
    assert [grant.subject for grant in written] == [slot_subject(SELLER.key, "m0", slot) for slot in (0, 1)]
    assert {grant.sequence for grant in written} == {9}


@pytest.mark.parametrize("field", [name for name in UsageReport.__struct_fields__ if name != "account_signature"])
def test_every_field_of_a_receipt_is_under_the_account_s_signature(field: str):
    plain = a_report()
    value = getattr(plain, field)
    other: Any = (
        not value
        if isinstance(value, bool)
        else value + 1
        if isinstance(value, int)
        else value[:-1] + type(value)(b"!" if isinstance(value, bytes) else "!")
    )
    assert body_digest(replace(plain, **{field: other})) != body_digest(plain)


def test_the_account_s_own_signature_does_not_change_what_it_signs():
    assert body_digest(replace(a_report(), account_signature=SIGNATURE)) == body_digest(a_report())
    assert body_digest(replace(a_lease(), grants=(SIGNATURE,))) == body_digest(a_lease())


def test_what_a_newer_node_adds_is_under_the_signature_too():
    raw = with_unknown_field(SELLER.sign(a_report()).raw, b"computefabric/usagereport/1\0")
    assert read_receipt(verify(raw, UsageReport)).body != receipt_of(a_report()).body


def test_a_lease_without_grants_states_nothing_that_is_signed():
    assert [grant.signature for grant in read_grants(SELLER.sign(a_lease()))] == [b""]


def test_a_lease_with_another_number_of_grants_than_slots_is_refused():
    lease = SELLER.sign(a_lease(grants=(SIGNATURE, SIGNATURE)))
    with pytest.raises(PeerFault) as fault:
        read_grants(lease)
    assert fault.value.code == "bad_grant"


def test_names_of_leases_and_slots_are_all_different():
    names = {
        receipt_subject(SELLER.key, b"l" * 16, 5),
        receipt_subject(SELLER.key, b"l" * 16, 6),
        receipt_subject(BUYER.key, b"l" * 16, 5),
        receipt_subject(SELLER.key, b"m" * 16, 5),
        slot_subject(SELLER.key, "m0", 0),
        slot_subject(SELLER.key, "m0", 1),
        slot_subject(SELLER.key, "m1", 0),
        slot_subject(BUYER.key, "m0", 0),
    }
    assert len(names) == 8


def test_two_bodies_under_one_number_are_a_proof_in_one_form():
    one, other = a_statement(), a_statement(body=b"b" * 32, signature=b"2" * 64)
    assert equivocation(one, other) == equivocation(other, one)
    assert equivocation(one, other).a is one


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "same_statement"),
        ({"signature": b"2" * 64}, "same_statement"),
        ({"body": b"b" * 32, "sequence": 8}, "different_sequence"),
        ({"body": b"b" * 32, "subject": b"t" * 32}, "different_subject"),
        ({"body": b"b" * 32, "kind": StatementKind.GRANT}, "different_kind"),
        ({"body": b"b" * 32, "signature": b""}, "not_signed"),
    ],
)
def test_what_does_not_contradict_is_no_proof(changes: dict[str, Any], code: str):
    with pytest.raises(InvalidRequest) as refused:
        equivocation(a_statement(), a_statement(**changes))
    assert refused.value.code == code


def grants(slots: tuple[int, ...], **changes: Any) -> list[Statement]:
    """Of a lease that holds these slots under the number 4."""
    award = BUYER.sign(an_award(slots=2))
    plain = a_lease(award, slots=slots, fencing=4, grants=(SIGNATURE, SIGNATURE))
    return read_grants(SELLER.sign(replace(plain, **changes)))


def test_of_two_leases_the_slot_that_both_hold_is_found():
    proof = find_equivocation([*grants((0, 1)), *grants((1, 2), granted_at=NOW + 1)])
    assert proof is not None
    assert proof.a.subject == proof.b.subject == slot_subject(SELLER.key, "m0", 1)


def test_honest_statements_hold_no_contradiction():
    assert find_equivocation([]) is None
    assert find_equivocation([*grants((0, 1)), *grants((0, 1)), *grants((2, 3), granted_at=NOW + 1)]) is None
    assert find_equivocation([*grants((0, 1)), *grants((0, 1), fencing=5, granted_at=NOW + 1)]) is None
    assert find_equivocation([*grants((0, 1)), *grants((0, 1), granted_at=NOW + 1, grants=())]) is None


NEWER = {
    UsageReport: {"price", "lane_before", "lane_after", "fencing", "account_signature"},
    Lease: {"grants"},
}


@pytest.mark.parametrize("record", [a_report(gpu_ms=7), a_lease()], ids=["report", "lease"])
def test_what_older_nodes_signed_is_still_read_and_states_nothing(record: Any):
    kind = type(record)
    every = codec.unpack(codec.pack_record(record))
    body = codec.pack({name: value for name, value in every.items() if name not in NEWER[kind]})
    domain = f"computefabric/{kind.__name__.lower()}/1\0".encode()
    signature = SELLER._private_key.sign(domain + body)
    old = verify(codec.pack({"body": body, "key": SELLER.key, "sig": signature}), kind)
    assert old.record == record
    stated = [read_receipt(old)] if kind is UsageReport else read_grants(old)
    assert {statement.signature for statement in stated} == {b""}


def test_a_lease_of_all_slots_there_can_be_is_read_with_its_grants():
    everything = replace(a_lease(), slots=tuple(range(4096)), grants=(SIGNATURE,) * 4096, award=bytes(8192))
    assert verify(SELLER.sign(everything).raw, Lease).record == everything
