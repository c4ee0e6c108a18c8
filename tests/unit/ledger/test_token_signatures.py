"""Permits and authorizations: equal to what every wallet that shows EIP-712 data would sign."""

from __future__ import annotations

from typing import Any

from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.ports import LaneKey, TokenDomain
from ledger.token_signatures import authorization_digest, authorization_nonce, permit_digest

addresses = st.binary(min_size=20, max_size=20)
words = st.integers(0, 2**256 - 1)
lanes = st.builds(LaneKey, addresses, addresses, addresses)
domains = st.builds(
    TokenDomain,
    name=st.text(max_size=20).filter(lambda text: text.isascii()),
    version=st.sampled_from(["1", "2"]),
    chain_id=st.integers(1, 2**53),
    token=addresses,
)


def typed(domain: TokenDomain, kind: str, fields: str, *values: Any) -> bytes:
    pairs = [pair.split(" ") for pair in fields.split(",")]
    encoded = encode_typed_data(
        {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.token.hex(),
        },
        {kind: [{"type": type_, "name": name} for type_, name in pairs]},
        {
            name: "0x" + value.hex() if type_ == "address" else value
            for (type_, name), value in zip(pairs, values, strict=True)
        },
    )
    return bytes(_hash_eip191_message(encoded))


@settings(deadline=None)
@given(domains, addresses, addresses, words, words)
def test_a_permit_s_digest_is_that_of_the_general_encoder(
    domain: TokenDomain, owner: bytes, spender: bytes, value: int, nonce: int
) -> None:
    fields = "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline"
    expected = typed(domain, "Permit", fields, owner, spender, value, nonce, 99)
    assert permit_digest(domain, owner=owner, spender=spender, value=value, nonce=nonce, deadline_s=99) == expected


@settings(deadline=None)
@given(domains, addresses, lanes, words, st.binary(min_size=32, max_size=32))
def test_an_authorization_s_digest_is_that_of_the_general_encoder(
    domain: TokenDomain, escrow: bytes, lane: LaneKey, value: int, salt: bytes
) -> None:
    fields = "address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce"
    nonce = authorization_nonce(lane, salt)
    expected = typed(domain, "ReceiveWithAuthorization", fields, lane.payer, escrow, value, 0, 77, nonce)
    made = authorization_digest(domain, escrow=escrow, lane=lane, value=value, salt=salt, until_s=77)
    assert made == expected


@given(lanes, lanes, st.binary(min_size=32, max_size=32))
def test_an_authorization_is_for_one_lane(lane: LaneKey, other: LaneKey, salt: bytes) -> None:
    assert (authorization_nonce(lane, salt) == authorization_nonce(other, salt)) == (lane == other)
