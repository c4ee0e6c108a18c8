"""What a token's owner signs so that the escrow may take tokens without an approval sent before. Pure.

Permits (EIP-2612) are for the owner's own deposits; authorizations (EIP-3009) let somebody else send the deposit, and
pay its gas, for an owner whose key never meets the network. Both are signed by the wallet, never by a session key.
"""

from __future__ import annotations

from eth_hash.auto import keccak

from ledger.ports import LaneKey, TokenDomain

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_PERMIT_TYPE = keccak(b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
_RECEIVE_TYPE = keccak(
    b"ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,"
    b"bytes32 nonce)"
)


def separator(domain: TokenDomain) -> bytes:
    """The EIP-712 domain separator of a token, 32 bytes."""
    return keccak(
        _DOMAIN_TYPE
        + keccak(domain.name.encode())
        + keccak(domain.version.encode())
        + _number(domain.chain_id)
        + _address(domain.token)
    )


def permit_digest(
    domain: TokenDomain, *, owner: bytes, spender: bytes, value: int, nonce: int, deadline_s: int
) -> bytes:
    """What ``owner`` signs to let ``spender`` take ``value`` units until ``deadline_s`` (UTC seconds)."""
    return _typed(
        domain,
        _PERMIT_TYPE + _address(owner) + _address(spender) + _number(value) + _number(nonce) + _number(deadline_s),
    )


def authorization_digest(
    domain: TokenDomain, *, escrow: bytes, lane: LaneKey, value: int, salt: bytes, until_s: int
) -> bytes:
    """What the payer of ``lane`` signs to let the escrow fetch ``value`` units for that lane, before ``until_s``.

    The nonce is bound to the lane: whoever sends the deposit cannot turn the money to another. ``salt`` (32 bytes)
    keeps two authorizations for one lane apart, and has to be a new one each time.
    """
    return _typed(
        domain,
        _RECEIVE_TYPE
        + _address(lane.payer)
        + _address(escrow)
        + _number(value)
        + _number(0)
        + _number(until_s)
        + authorization_nonce(lane, salt),
    )


def authorization_nonce(lane: LaneKey, salt: bytes) -> bytes:
    """The nonce that the escrow will ask the token for."""
    return keccak(keccak(lane.payer + lane.payee + lane.signer) + salt)


def _typed(domain: TokenDomain, body: bytes) -> bytes:
    return keccak(b"\x19\x01" + separator(domain) + keccak(body))


def _address(account: bytes) -> bytes:
    return account.rjust(32, b"\0")


def _number(value: int) -> bytes:
    return value.to_bytes(32, "big")
