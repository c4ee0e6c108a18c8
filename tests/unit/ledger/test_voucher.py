"""Vouchers: equal to what every EIP-712 wallet would sign, and refused whenever the escrow would skip them."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given
from hypothesis import strategies as st

from ledger.ports import LaneKey
from ledger.voucher import (
    Domain,
    SessionKey,
    Voucher,
    check_close_consent,
    check_voucher,
    close_digest,
    decode_voucher,
    encode_voucher,
    recover,
    release_digest,
    sign_voucher,
    voucher_digest,
)
from market.errors import PeerFault
from market.money import MAX_AMOUNT

ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
KEY = SessionKey(b"\x07" * 32)
DOMAIN = Domain(31337, b"\xee" * 20)
LANE = LaneKey(b"\xaa" * 20, b"\xbb" * 20, KEY.address)

addresses = st.binary(min_size=20, max_size=20)
secrets = st.integers(1, ORDER - 1).map(lambda n: n.to_bytes(32, "big"))
domains = st.builds(Domain, st.integers(1, 2**53), addresses)


def typed(domain: Domain, kind: str, fields: str, **message: Any) -> bytes:
    """The digest by eth-account's general encoder."""
    pairs = [pair.split(" ") for pair in fields.split(",")]
    encoded = encode_typed_data(
        {
            "name": "ComputeFabric Escrow",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.escrow.hex(),
        },
        {kind: [{"type": type_, "name": name} for type_, name in pairs]},
        {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in message.items()},
    )
    return bytes(_hash_eip191_message(encoded))


@given(domains, addresses, addresses, st.integers(0, MAX_AMOUNT))
def test_a_voucher_s_digest_is_that_of_the_general_encoder(
    domain: Domain, payer: bytes, payee: bytes, cumulative: int
) -> None:
    fields = "address payer,address provider,uint96 cumulative"
    expected = typed(domain, "Voucher", fields, payer=payer, provider=payee, cumulative=cumulative)
    assert voucher_digest(domain, LaneKey(payer, payee, KEY.address), cumulative) == expected


@given(domains, st.tuples(addresses, addresses, addresses), st.integers(0, 2**16 - 1), st.integers(0, 2**40 - 1))
def test_a_close_s_digest_is_that_of_the_general_encoder(
    domain: Domain, parties: tuple[bytes, bytes, bytes], epoch: int, deadline_s: int
) -> None:
    payer, payee, signer = parties
    expected = typed(
        domain,
        "Close",
        "address payer,address provider,address signer,uint16 epoch,uint96 cumulative,uint40 deadline",
        payer=payer,
        provider=payee,
        signer=signer,
        epoch=epoch,
        cumulative=12345,
        deadline=deadline_s,
    )
    lane = LaneKey(payer, payee, signer)
    assert close_digest(domain, lane, epoch=epoch, cumulative=12345, deadline_s=deadline_s) == expected


@given(domains, st.tuples(addresses, addresses, addresses), st.integers(0, 2**16 - 1), st.integers(0, MAX_AMOUNT))
def test_a_release_s_digest_is_that_of_the_general_encoder(
    domain: Domain, parties: tuple[bytes, bytes, bytes], epoch: int, new_balance: int
) -> None:
    payer, payee, signer = parties
    expected = typed(
        domain,
        "Release",
        "address payer,address provider,address signer,uint16 epoch,uint96 newBalance,uint40 deadline",
        payer=payer,
        provider=payee,
        signer=signer,
        epoch=epoch,
        newBalance=new_balance,
        deadline=99,
    )
    lane = LaneKey(payer, payee, signer)
    assert release_digest(domain, lane, epoch=epoch, new_balance=new_balance, deadline_s=99) == expected


@given(secrets, st.binary(min_size=32, max_size=32))
def test_a_signature_is_that_of_any_wallet_in_compact_form(secret: bytes, digest: bytes) -> None:
    key = SessionKey(secret)
    wallet = Account.from_key(secret)
    signed = wallet.unsafe_sign_hash(digest)
    compact = signed.r.to_bytes(32, "big") + (signed.s | (signed.v - 27) << 255).to_bytes(32, "big")
    assert key.sign(digest) == compact
    assert recover(digest, compact) == key.address == bytes.fromhex(wallet.address[2:])


@given(domains, st.integers(0, MAX_AMOUNT), secrets)
def test_a_signed_voucher_passes_and_survives_the_journal(domain: Domain, cumulative: int, secret: bytes) -> None:
    key = SessionKey(secret)
    lane = LaneKey(b"\x01" * 20, b"\x02" * 20, key.address)
    voucher = sign_voucher(key, domain, lane, cumulative)
    check_voucher(domain, voucher)
    assert decode_voucher(encode_voucher(voucher)) == voucher
    assert voucher.row() == lane.payer + cumulative.to_bytes(12, "big") + voucher.signature


@given(st.integers(0, 135), st.integers(1, 255))
def test_a_voucher_with_any_byte_changed_is_refused(at: int, flip: int) -> None:
    raw = bytearray(encode_voucher(sign_voucher(KEY, DOMAIN, LANE, 500)))
    raw[at] ^= flip
    with pytest.raises(PeerFault):
        check_voucher(DOMAIN, decode_voucher(bytes(raw)))


@pytest.mark.parametrize("other", [Domain(1, DOMAIN.escrow), Domain(DOMAIN.chain_id, b"\xef" * 20)])
def test_a_voucher_is_worth_nothing_on_another_chain_or_escrow(other: Domain) -> None:
    with pytest.raises(PeerFault) as refused:
        check_voucher(other, sign_voucher(KEY, DOMAIN, LANE, 500))
    assert refused.value.code == "voucher_signer"


def test_the_malleable_twin_of_a_signature_is_refused_where_it_can_be_written() -> None:
    # Compact form has 255 bits for s: of all high values only those just above half the order fit.
    high = ORDER // 2 + 1
    with pytest.raises(PeerFault) as refused:
        recover(b"\x01" * 32, (5).to_bytes(32, "big") + high.to_bytes(32, "big"))
    assert refused.value.code == "voucher_malleable"


@pytest.mark.parametrize(
    ("signature", "code"),
    [
        (b"", "voucher_range"),
        (b"\x01" * 65, "voucher_range"),
        (bytes(64), "voucher_signature"),
        (b"\xff" * 32 + b"\x01" * 32, "voucher_signature"),
    ],
)
def test_bytes_that_are_no_signature_are_refused(signature: bytes, code: str) -> None:
    with pytest.raises(PeerFault) as refused:
        recover(b"\x01" * 32, signature)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "voucher",
    [
        Voucher(LANE, MAX_AMOUNT + 1, bytes(64)),
        Voucher(LANE, -1, bytes(64)),
        Voucher(LANE, 1, bytes(63)),
        Voucher(LaneKey(b"\xaa" * 19, LANE.payee, LANE.signer), 1, bytes(64)),
    ],
)
def test_a_voucher_out_of_range_is_refused_before_any_arithmetic(voucher: Voucher) -> None:
    with pytest.raises(PeerFault) as refused:
        check_voucher(DOMAIN, voucher)
    assert refused.value.code == "voucher_range"


def test_amounts_end_exactly_where_the_escrow_s_do() -> None:
    check_voucher(DOMAIN, sign_voucher(KEY, DOMAIN, LANE, MAX_AMOUNT))
    for amount in (MAX_AMOUNT + 1, -1):
        with pytest.raises(ValueError, match="out of range"):
            sign_voucher(KEY, DOMAIN, LANE, amount)


def test_only_the_lane_s_own_key_signs_for_it() -> None:
    with pytest.raises(ValueError, match="not the signer"):
        sign_voucher(SessionKey(b"\x08" * 32), DOMAIN, LANE, 1)


@pytest.mark.parametrize(
    "terms",
    [{"epoch": 2**16}, {"epoch": -1}, {"cumulative": MAX_AMOUNT + 1}, {"deadline_s": 2**40}],
)
def test_a_close_outside_the_escrow_s_types_is_not_signed(terms: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        close_digest(DOMAIN, LANE, **({"epoch": 0, "cumulative": 0, "deadline_s": 0} | terms))


def test_a_consent_is_checked_against_who_should_have_given_it() -> None:
    digest = close_digest(DOMAIN, LANE, epoch=3, cumulative=10, deadline_s=99)
    check_close_consent(digest, KEY.sign(digest), KEY.address)
    with pytest.raises(PeerFault):
        check_close_consent(digest, KEY.sign(digest), LANE.payee)


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, b"\x01" * 31])
def test_a_key_is_a_scalar_of_the_curve(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        SessionKey(secret)


def test_a_key_does_not_print_its_secret() -> None:
    assert ("07" * 8) not in repr(KEY)


def test_a_decoded_voucher_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(PeerFault) as refused:
        decode_voucher(bytes(137))
    assert refused.value.code == "voucher_range"
