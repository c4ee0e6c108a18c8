"""Signatures: bound to the author, the kind and every byte, and nothing unchecked passes for checked."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct
from msgspec.structs import replace

from market import codec
from market.errors import PeerFault
from market.records import Offer
from market.signing import Signer, Verified, digest, spec_hash, verify
from tests.fakes.samples import ALL_RECORDS, BUYER, SALT, SELLER, SPEC, a_signer, an_offer

KINDS = [pytest.param(signer, record, id=type(record).__name__) for signer, record in ALL_RECORDS]
ORDER = 2**252 + 27742317777372353535851937790883648493


def _resigned(seed_of: str, body: bytes, domain: bytes) -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(seed_of.encode().ljust(32, b"."))
    return codec.pack({"body": body, "key": key.public_key().public_bytes_raw(), "sig": key.sign(domain + body)})


@pytest.mark.parametrize(("signer", "record"), KINDS)
def test_what_was_signed_is_what_is_read(signer: Signer, record: Struct):
    signed = signer.sign(record)
    read = verify(signed.raw, type(record))
    assert (read.record, read.signer, read.id, read.raw) == (record, signer.key, signed.id, signed.raw)
    assert read.id == digest(codec.pack_record(record))


@pytest.mark.parametrize(("signer", "record"), KINDS)
def test_every_flipped_byte_is_noticed(signer: Signer, record: Struct):
    raw = signer.sign(record).raw
    for place in range(len(raw)):
        for mask in (0x01, 0x80):
            spoiled = bytearray(raw)
            spoiled[place] ^= mask
            with pytest.raises(PeerFault):
                verify(bytes(spoiled), type(record))


@pytest.mark.parametrize(("signer", "record"), KINDS)
def test_every_cut_is_noticed(signer: Signer, record: Struct):
    raw = signer.sign(record).raw
    for length in range(0, len(raw), 7):
        with pytest.raises(PeerFault):
            verify(raw[:length], type(record))
    with pytest.raises(PeerFault):
        verify(raw + b"\0", type(record))


@pytest.mark.parametrize(("signer", "record"), KINDS)
def test_no_kind_of_record_passes_for_another(signer: Signer, record: Struct):
    name = {SELLER.key: "seller", BUYER.key: "buyer"}[signer.key]
    body = codec.pack_record(record)
    own = f"computefabric/{type(record).__name__.lower()}/1\0".encode()
    assert verify(_resigned(name, body, own), type(record)).record == record
    for other in ("offer", "bid", "award", "lease", "refusal", "usagereport", "voucher", ""):
        domain = f"computefabric/{other}/1\0".encode()
        if domain != own:
            with pytest.raises(PeerFault) as refused:
                verify(_resigned(name, body, domain), type(record))
            assert refused.value.code == "bad_signature"


@pytest.mark.parametrize(("signer", "record"), KINDS)
def test_nobody_signs_for_somebody_else(signer: Signer, record: Struct):
    with pytest.raises(ValueError, match="author"):
        a_signer("mallory").sign(record)
    domain = f"computefabric/{type(record).__name__.lower()}/1\0".encode()
    with pytest.raises(PeerFault) as refused:
        verify(_resigned("mallory", codec.pack_record(record), domain), type(record))
    assert refused.value.code == "wrong_author"


def test_the_key_beside_the_signature_cannot_be_swapped():
    plain = codec.unpack(SELLER.sign(an_offer()).raw)
    with pytest.raises(PeerFault) as refused:
        verify(codec.pack({**plain, "key": BUYER.key}), Offer)
    assert refused.value.code == "wrong_author"


def test_a_signature_has_one_form():
    """Ed25519 with S + L verifies in careless code and would give one record a second envelope."""
    plain = codec.unpack(SELLER.sign(an_offer()).raw)
    r, s = plain["sig"][:32], int.from_bytes(plain["sig"][32:], "little")
    with pytest.raises(PeerFault) as refused:
        verify(codec.pack({**plain, "sig": r + (s + ORDER).to_bytes(32, "little")}), Offer)
    assert refused.value.code == "bad_signature"


@pytest.mark.parametrize("spoiled", [{"sig": b""}, {"sig": bytes(64)}, {"sig": bytes(65)}, {"body": b""}, {"more": 1}])
def test_a_strange_envelope_is_refused(spoiled: dict[str, object]):
    plain = codec.unpack(SELLER.sign(an_offer()).raw)
    with pytest.raises(PeerFault):
        verify(codec.pack({**plain, **spoiled}), Offer)


def test_size_is_judged_before_anything_else():
    raw = SELLER.sign(an_offer()).raw
    assert verify(raw, Offer, limit=len(raw)).record == an_offer()
    with pytest.raises(PeerFault) as refused:
        verify(raw, Offer, limit=len(raw) - 1)
    assert refused.value.code == "oversized"


def test_a_key_that_is_no_point_of_the_curve_signs_nothing():
    key = b"\xff" * 32
    body = codec.pack_record(an_offer(provider=key))
    with pytest.raises(PeerFault) as refused:
        verify(codec.pack({"body": body, "key": key, "sig": bytes(64)}), Offer)
    assert refused.value.code == "bad_signature"


def test_nobody_else_makes_a_verified_record():
    offer = an_offer()
    with pytest.raises(TypeError):
        Verified(object(), offer, offer.provider, b"", b"")


def test_verified_records_are_equal_by_their_bytes():
    one, other = SELLER.sign(an_offer()), SELLER.sign(an_offer(version=2))
    assert one == verify(one.raw, Offer)
    assert hash(one) == hash(verify(one.raw, Offer))
    assert one != other
    assert one != one.raw
    assert "version=1" in repr(one)


def test_a_spec_cannot_be_guessed_without_its_salt():
    assert spec_hash(SPEC, SALT) != spec_hash(SPEC, bytes(16))
    assert spec_hash(SPEC, SALT) != spec_hash(replace(SPEC, command=("other",)), SALT)
    assert len(spec_hash(SPEC, SALT)) == 32
