"""Who said it: Ed25519 signatures over canonical records, and the type that proves a check took place.

A :class:`Verified` can only be made by signing and by checking a signature; code that asks for one cannot be handed
something unchecked. Each kind of record signs under its own domain, so an offer never passes for an award.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Generic, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from market import codec
from market.errors import PeerFault
from market.records import Award, Bid, Lease, Offer, Quote, ReceiptRefusal, Refusal, UsageReport

R = TypeVar("R", Offer, Bid, Quote, Award, Lease, Refusal, UsageReport, ReceiptRefusal)

_AUTHOR_FIELD: dict[type, str] = {
    Offer: "provider",
    Bid: "requester",
    Quote: "provider",
    Award: "requester",
    Lease: "provider",
    Refusal: "provider",
    UsageReport: "provider",
    ReceiptRefusal: "requester",
}
_DOMAIN: dict[type, bytes] = {kind: f"computefabric/{kind.__name__.lower()}/1\0".encode() for kind in _AUTHOR_FIELD}
_LIMIT: dict[type, int] = {Lease: 384 * 1024}
"""Bytes of a record that may be longer than others: a lease has a signature for each of its slots."""
_SEAL = object()
_KEYS_KEPT = 16_384


class Verified(Generic[R]):
    """A record whose signature was checked, with the exact bytes that were signed.

    Attributes:
        record: the decoded record.
        signer: the Ed25519 public key that signed, always the author the record names.
        id: BLAKE2b-256 of the signed body; the name of this very version of the record.
        raw: the envelope as received, to be stored and forwarded verbatim.
    """

    __slots__ = ("id", "raw", "record", "signer")

    def __init__(self, seal: object, record: R, signer: bytes, body: bytes, raw: bytes) -> None:
        if seal is not _SEAL:
            raise TypeError("only sign() and verify() make a Verified record")
        self.record: R = record
        self.signer = signer
        self.id = hashlib.blake2b(body, digest_size=32).digest()
        self.raw = raw

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verified) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"Verified({self.record!r})"


class Claim(Generic[R]):
    """What somebody is said to have signed, in order but for the signature: to be looked at before that is paid for.

    Attributes:
        record: the decoded record. Not to be kept, passed on or acted upon.
        raw: the envelope as received.
    """

    __slots__ = ("_envelope", "raw", "record")

    def __init__(self, record: R, envelope: _Envelope, raw: bytes) -> None:
        self.record: R = record
        self._envelope = envelope
        self.raw = raw

    def check(self) -> Verified[R]:
        """Check the signature.

        Raises:
            PeerFault: it is not the author's signature of this.
        """
        envelope, kind = self._envelope, type(self.record)
        try:
            _public_key(envelope.key).verify(envelope.sig, _DOMAIN[kind] + envelope.body)
        except (InvalidSignature, ValueError):
            raise PeerFault(f"bad signature on a {kind.__name__}", code="bad_signature") from None
        return Verified(_SEAL, self.record, envelope.key, envelope.body, self.raw)


class Signer:
    """A node's signing key. Holds the private half; never prints it."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.key: bytes = private_key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> Signer:
        """Make a signer from a 32-byte Ed25519 seed."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, record: R) -> Verified[R]:
        """Sign a record that names this key as its author.

        Raises:
            ValueError: the record names another author.
        """
        kind = type(record)
        if getattr(record, _AUTHOR_FIELD[kind]) != self.key:
            raise ValueError(f"this key is not the author of the {kind.__name__}")
        body = codec.pack_record(record)
        signature = self._private_key.sign(_DOMAIN[kind] + body)
        raw = codec.pack({"body": body, "key": self.key, "sig": signature})
        return Verified(_SEAL, record, self.key, body, raw)


def read(raw: bytes, kind: type[R], *, limit: int = 0) -> Claim[R]:
    """Decode an envelope and the record in it: size, form, bounds and author, everything but the signature.

    Args:
        limit: the most bytes; by default what records of this kind may have.

    Raises:
        PeerFault: any of these is wrong.
    """
    limit = limit or _LIMIT.get(kind, codec.MAX_RECORD)
    envelope = codec.unpack_record(raw, _Envelope, limit=limit)
    record = codec.unpack_record(envelope.body, kind, limit=limit)
    if getattr(record, _AUTHOR_FIELD[kind]) != envelope.key:
        raise PeerFault(f"a {kind.__name__} signed by somebody else than its author", code="wrong_author")
    return Claim(record, envelope, raw)


def verify(raw: bytes, kind: type[R], *, limit: int = 0) -> Verified[R]:
    """Check an envelope and return the record in it. Cheap checks come first, the signature last. ``limit`` as in
    :func:`read`.

    Raises:
        PeerFault: anything at all is wrong with it.
    """
    return read(raw, kind, limit=limit).check()


def digest(*parts: bytes) -> bytes:
    """BLAKE2b-256 of the parts joined. The hash used for every identifier in the market."""
    return hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def spec_hash(spec: msgspec.Struct, salt: bytes) -> bytes:
    """The commitment to a job spec in a bid. The salt keeps a guessed spec from being confirmed by its hash."""
    return digest(b"computefabric/spec/1\0", salt, codec.pack_record(spec))


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    body: bytes
    key: bytes
    sig: bytes


@lru_cache(maxsize=_KEYS_KEPT)
def _public_key(key: bytes) -> Ed25519PublicKey:
    """A provider says something every few seconds; its key need not be read each time."""
    return Ed25519PublicKey.from_public_bytes(key)
