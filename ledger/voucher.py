"""Vouchers: the only signatures that move money, made and checked without a chain. Pure.

A voucher says "this provider may draw this much in all from my lane". It is EIP-712 data over the domain of
one escrow on one chain, so it is worth nothing anywhere else. The digests are put together by hand from fixed
bytes: four times cheaper than a general encoder, and a property test holds them equal to it. The session key
that signs may move money in its own lane and nothing else, so it must never be the payer's wallet.

Nothing here reads a clock, a file or the network, and no private key is ever printed.
"""

from __future__ import annotations

from typing import Annotated

from coincurve import PrivateKey, PublicKey
from eth_hash.auto import keccak
from msgspec import Meta, Struct

from ledger.ports import LaneKey
from market.errors import PeerFault
from market.money import MAX_AMOUNT
from market.records import Address

ROW_BYTES = 96
"""One row of ``redeemMany``: payer 20, cumulative 12, r 32, vs 32."""
SIGNATURE_BYTES = 64
"""A compact signature (EIP-2098): r, then s with the parity of the curve point in its highest bit."""

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_DOMAIN_NAME = keccak(b"ComputeFabric Escrow")
_DOMAIN_VERSION = keccak(b"1")
_VOUCHER_TYPE = keccak(b"Voucher(address payer,address provider,uint96 cumulative)")
_CLOSE_TYPE = keccak(
    b"Close(address payer,address provider,address signer,uint16 epoch,uint96 cumulative,uint40 deadline)"
)
_RELEASE_TYPE = keccak(
    b"Release(address payer,address provider,address signer,uint16 epoch,uint96 newBalance,uint40 deadline)"
)
_STATEMENT_TYPES = (
    keccak(b"Receipt(bytes32 lease,uint64 seq,bytes32 body)"),
    keccak(b"Grant(bytes32 slot,uint64 seq,bytes32 body)"),
)
_LANE_PROOF = b"ComputeFabric lane proof 1\0"
_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_HALF_ORDER = _ORDER // 2
_PARITY = 1 << 255
_MAX_EPOCH = 2**16 - 1
_MAX_DEADLINE = 2**40 - 1
_MAX_SEQUENCE = 2**64 - 1


class Domain(Struct, frozen=True):
    """The one escrow contract a signature is for. Names no token: an escrow holds a single token for ever."""

    chain_id: Annotated[int, Meta(ge=1, le=2**53)]
    escrow: Address

    def separator(self) -> bytes:
        """The EIP-712 domain separator, 32 bytes."""
        return keccak(
            _DOMAIN_TYPE + _DOMAIN_NAME + _DOMAIN_VERSION + self.chain_id.to_bytes(32, "big") + _word(self.escrow)
        )


class Voucher(Struct, frozen=True):
    """``lane.payee`` may have drawn ``cumulative`` units in all from ``lane``. The higher of two wins.

    ``signature`` is compact (r, vs) and made by ``lane.signer``. ``cumulative`` is 0 to 2^96 - 1, more than records
    and their codec hold: a voucher travels and is stored as :func:`encode_voucher` has it. Ranges are checked where
    one is made (:func:`sign_voucher`) and where it comes from a peer (:func:`check_voucher`).
    """

    lane: LaneKey
    cumulative: int
    signature: bytes

    def row(self) -> bytes:
        """The 96 bytes that ``redeemMany`` reads."""
        return self.lane.payer + self.cumulative.to_bytes(12, "big") + self.signature


class SessionKey:
    """A secp256k1 key. Holds the secret; never prints it.

    Attributes:
        address: the 20-byte account that belongs to it.
    """

    __slots__ = ("_private_key", "address")

    def __init__(self, secret: bytes) -> None:
        """Raises ValueError unless ``secret`` is 32 bytes and a scalar of the curve."""
        if len(secret) != 32:
            raise ValueError("a secret key is 32 bytes")
        self._private_key = PrivateKey(secret)
        self.address: bytes = _address_of(self._private_key.public_key)

    def sign(self, digest: bytes) -> bytes:
        """A compact signature (64 bytes) over a 32-byte digest; deterministic (RFC 6979), always low-s."""
        recoverable = self._private_key.sign_recoverable(digest, hasher=None)
        s = int.from_bytes(recoverable[32:64], "big")
        return recoverable[:32] + (s | (recoverable[64] << 255)).to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"SessionKey(0x{self.address.hex()})"


def voucher_digest(domain: Domain, lane: LaneKey, cumulative: int) -> bytes:
    """What a voucher's signature is over. The signer is not in it: it *is* whoever the signature recovers
    to."""
    return _typed(domain, _VOUCHER_TYPE + _word(lane.payer) + _word(lane.payee) + cumulative.to_bytes(32, "big"))


def close_digest(domain: Domain, lane: LaneKey, *, epoch: int, cumulative: int, deadline_s: int) -> bytes:
    """What payer and payee sign to close a lane at ``cumulative`` before ``deadline_s`` (UTC seconds).

    ``epoch`` is the lane's at signing: a consent dies with the close it allowed, so it cannot close a
    refilled lane.
    """
    return _typed(domain, _CLOSE_TYPE + _consent(lane, epoch, cumulative, deadline_s))


def release_digest(domain: Domain, lane: LaneKey, *, epoch: int, new_balance: int, deadline_s: int) -> bytes:
    """What the payee signs to let the payer take back at once whatever the lane has above ``new_balance``.

    The payee must have no voucher above ``new_balance``: what such a voucher is worth beyond it goes back to the payer.
    ``epoch`` as in :func:`close_digest`.
    """
    return _typed(domain, _RELEASE_TYPE + _consent(lane, epoch, new_balance, deadline_s))


def statement_digest(domain: Domain, kind: int, *, subject: bytes, sequence: int, body: bytes) -> bytes:
    """What a provider's account signs to state ``body`` (32 bytes) under the ``sequence`` of ``subject`` (32 bytes).

    ``kind`` is 0 for a receipt (the subject is a lease), 1 for a grant (a slot). Moves no money; two of one subject and
    sequence cost the account its stake.
    """
    return _typed(domain, _STATEMENT_TYPES[kind] + subject + _bounded(sequence, _MAX_SEQUENCE, "sequence") + body)


def lane_proof_digest(domain: Domain, lane: LaneKey, subject: bytes) -> bytes:
    """What the session key signs to show that a request about ``lane`` is its own. Moves no money.

    Lanes are public on the chain: without this, a stranger could name somebody else's lane and have its deposit set
    aside for work it never pays, or have the provider promise to close it. ``subject`` (32 bytes) names the request.
    """
    return keccak(_LANE_PROOF + domain.separator() + lane.payer + lane.payee + lane.signer + subject)


def check_lane_proof(domain: Domain, lane: LaneKey, subject: bytes, proof: bytes) -> None:
    """Refuse a request about a lane that the lane's own session key did not make.

    Raises:
        PeerFault: as for :func:`check_voucher`.
    """
    if recover(lane_proof_digest(domain, lane, subject), proof) != lane.signer:
        raise PeerFault("a request about somebody else's lane", code="voucher_signer")


def sign_voucher(key: SessionKey, domain: Domain, lane: LaneKey, cumulative: int) -> Voucher:
    """Sign for ``cumulative`` units in all.

    Raises:
        ValueError: the key is not the lane's signer, or the amount does not fit the escrow.
    """
    if key.address != lane.signer:
        raise ValueError("this key is not the signer of the lane")
    _bounded(cumulative, MAX_AMOUNT, "cumulative")
    return Voucher(lane, cumulative, key.sign(voucher_digest(domain, lane, cumulative)))


def check_voucher(domain: Domain, voucher: Voucher) -> None:
    """Refuse a voucher that the escrow would skip: it would be work paid with nothing.

    Raises:
        PeerFault: ``voucher_range`` (a field of the wrong size), ``voucher_malleable`` (high s),
            ``voucher_signature`` (no such point), ``voucher_signer`` (signed by another key than the lane's).
    """
    lane = voucher.lane
    sizes = (len(lane.payer), len(lane.payee), len(lane.signer), len(voucher.signature))
    if sizes != (20, 20, 20, SIGNATURE_BYTES) or not 0 <= voucher.cumulative <= MAX_AMOUNT:
        raise PeerFault("a voucher with a field out of range", code="voucher_range")
    signer = recover(voucher_digest(domain, lane, voucher.cumulative), voucher.signature)
    if signer != lane.signer:
        raise PeerFault("a voucher signed by another key than the lane's", code="voucher_signer")


def check_close_consent(digest: bytes, signature: bytes, signer: bytes) -> None:
    """Refuse a consent to :func:`close_digest` that ``signer`` did not give.

    Raises:
        PeerFault: as for :func:`check_voucher`.
    """
    if recover(digest, signature) != signer:
        raise PeerFault("a consent signed by another account", code="voucher_signer")


def recover(digest: bytes, signature: bytes) -> bytes:
    """The account (20 bytes) that made a compact signature.

    Raises:
        PeerFault: ``voucher_range``, ``voucher_malleable`` or ``voucher_signature``.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise PeerFault("a signature that is not 64 bytes", code="voucher_range")
    with_parity = int.from_bytes(signature[32:], "big")
    s, parity = with_parity & (_PARITY - 1), with_parity >> 255
    if s > _HALF_ORDER:
        # The escrow skips these, as the twin of a low-s signature must not count as a second one.
        raise PeerFault("a signature in its malleable form", code="voucher_malleable")
    recoverable = signature[:32] + s.to_bytes(32, "big") + bytes([parity])
    try:
        return _address_of(PublicKey.from_signature_and_message(recoverable, digest, hasher=None))
    except ValueError:
        raise PeerFault("a signature of nobody", code="voucher_signature") from None


def encode_voucher(voucher: Voucher) -> bytes:
    """Canonical bytes for the journal and the wire: payee 20, signer 20, row 96."""
    return voucher.lane.payee + voucher.lane.signer + voucher.row()


def decode_voucher(raw: bytes) -> Voucher:
    """Read :func:`encode_voucher`. Says nothing about the signature: call :func:`check_voucher` for that.

    Raises:
        PeerFault: ``voucher_range``: not 136 bytes.
    """
    if len(raw) != 40 + ROW_BYTES:
        raise PeerFault("a voucher of the wrong length", code="voucher_range")
    lane = LaneKey(payer=raw[40:60], payee=raw[:20], signer=raw[20:40])
    return Voucher(lane, int.from_bytes(raw[60:72], "big"), raw[72:])


def _typed(domain: Domain, body: bytes) -> bytes:
    return keccak(b"\x19\x01" + domain.separator() + keccak(body))


def _consent(lane: LaneKey, epoch: int, amount: int, deadline_s: int) -> bytes:
    return (
        _word(lane.payer)
        + _word(lane.payee)
        + _word(lane.signer)
        + _bounded(epoch, _MAX_EPOCH, "epoch")
        + _bounded(amount, MAX_AMOUNT, "amount")
        + _bounded(deadline_s, _MAX_DEADLINE, "deadline_s")
    )


def _word(address: bytes) -> bytes:
    return address.rjust(32, b"\0")


def _bounded(value: int, highest: int, name: str) -> bytes:
    if not 0 <= value <= highest:
        raise ValueError(f"{name} {value} is out of range")
    return value.to_bytes(32, "big")


def _address_of(key: PublicKey) -> bytes:
    return keccak(key.format(compressed=False)[1:])[12:]
