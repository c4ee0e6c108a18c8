"""Who this node is: its Ed25519 node key, its voucher session key, and the peer id the former implies.

The node key signs market records *and* is the libp2p identity, so a peer's market key can be read off its
peer id. The wallet is in ``wallet``. Nothing here ever prints a secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from bootstrap.secret_file import create_secret, read_secret
from market.errors import InvalidRequest
from market.signing import Signer

_KEY_BYTES = 32
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_IDENTITY_MULTIHASH = bytes([0x00, 0x24, 0x08, 0x01, 0x12, 0x20])
"""An identity multihash of 36 bytes: the protobuf PublicKey{Type: Ed25519, Data} (libp2p specs, peer-ids)."""
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PEER_ID_LETTERS = 52


def load_node_seed(path: Path) -> bytes:
    """The 32-byte Ed25519 seed in ``path``, made at the first call. The same seed always means the same peer.

    Raises:
        InvalidRequest: others may open the file, or it does not hold a key.
    """
    return _load_or_create(path, lambda: secrets.token_bytes(_KEY_BYTES), lambda key: True)


def load_session_key(path: Path) -> bytes:
    """The 32-byte secp256k1 scalar in ``path`` that signs vouchers, made at the first call.

    Raises:
        InvalidRequest: others may open the file, or it does not hold a key.
    """
    return _load_or_create(path, random_scalar, is_scalar)


def key_of_seed(seed: bytes) -> bytes:
    """The Ed25519 public key (32 bytes) that names the node holding ``seed``."""
    return Signer.from_seed(seed).key


def peer_id_of(key: bytes) -> str:
    """The libp2p peer id text (``12D3Koo…``) of an Ed25519 public key of 32 bytes."""
    number, text = int.from_bytes(multihash_of(key), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" + text  # base58 writes each leading zero byte as a "1"; the identity code is one such byte


def key_of_peer_id(text: str) -> bytes:
    """The Ed25519 public key inside a peer id text. Peers with keys of other kinds cannot trade.

    Raises:
        InvalidRequest: not the base58 text of an Ed25519 peer id.
    """
    number = 0
    for letter in text[: _PEER_ID_LETTERS + 1]:
        number = number * 58 + max(_BASE58.find(letter), 0)
    key = int(number % 256**_KEY_BYTES).to_bytes(_KEY_BYTES, "big")
    if peer_id_of(key) != text:  # the one check: it also catches wrong letters, prefixes and lengths
        raise InvalidRequest(
            "not the peer id of an Ed25519 key",
            code="bad_peer_id",
            fix="a peer id starts with 12D3Koo and has 52 letters; copy it whole from the other node",
        )
    return key


def multihash_of(key: bytes) -> bytes:
    """The binary peer id, as libp2p messages carry it, of an Ed25519 public key of 32 bytes."""
    if len(key) != _KEY_BYTES:
        raise ValueError("an Ed25519 public key has 32 bytes")
    return _IDENTITY_MULTIHASH + key


def key_of_multihash(multihash: bytes) -> bytes | None:
    """The key inside a binary peer id, or ``None`` when it is not the id of an Ed25519 key."""
    key = multihash[len(_IDENTITY_MULTIHASH) :]
    return key if len(key) == _KEY_BYTES and multihash_of(key) == multihash else None


def random_scalar() -> bytes:
    """A fresh secp256k1 private key."""
    return (secrets.randbelow(_SECP256K1_ORDER - 1) + 1).to_bytes(_KEY_BYTES, "big")


def is_scalar(key: bytes) -> bool:
    """Whether these bytes are a secp256k1 private key: 32 bytes, from 1 to the group order minus 1."""
    return len(key) == _KEY_BYTES and 0 < int.from_bytes(key, "big") < _SECP256K1_ORDER


def _load_or_create(path: Path, make: Callable[[], bytes], is_valid: Callable[[bytes], bool]) -> bytes:
    try:
        key = read_secret(path, limit=_KEY_BYTES)
    except FileNotFoundError:
        create_secret(path, make())
        key = read_secret(path, limit=_KEY_BYTES)  # another process may have been faster: its key is the key
    if len(key) != _KEY_BYTES or not is_valid(key):
        raise InvalidRequest(
            "the file does not hold a key",
            code="bad_key_file",
            fix="restore it from a backup, or move it away to have a new key made",
            where=str(path),
        )
    return key
