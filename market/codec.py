"""Canonical MessagePack: one value, one encoding.

A signature is over bytes, so two encodings of one value would be two records. Anything that is not byte for byte
what :func:`pack` would have written is refused: unsorted or repeated keys, long forms of short numbers, floats,
extension types, trailing bytes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgpack
import msgspec

from market.errors import PeerFault

R = TypeVar("R", bound=msgspec.Struct)

MAX_RECORD = 64 * 1024
_MAX_DEPTH = 16


def pack(value: Any) -> bytes:
    """Encode plain data (text keys, ints within 64 bits, text, bytes, booleans, None, lists) canonically.

    Raises:
        TypeError: a float, a non-text key or any other type that signed data must not hold.
    """
    return bytes(msgpack.packb(_ordered(value, 0), use_bin_type=True))


def unpack(raw: bytes, *, limit: int = MAX_RECORD) -> Any:
    """Decode bytes that must be canonical.

    Raises:
        PeerFault: too large, not MessagePack, or not the canonical encoding of what it says.
    """
    if not isinstance(raw, bytes):
        # Peers choose the types inside a message, and what should be an envelope may be a number.
        raise PeerFault(f"{type(raw).__name__} where bytes belong", code="undecodable")
    if len(raw) > limit:
        raise PeerFault(f"record of {len(raw)} bytes is over the limit of {limit}", code="oversized")
    try:
        value = msgpack.unpackb(raw, raw=False, strict_map_key=True)
        canonical = pack(value)
    except (
        ValueError,
        TypeError,
        OverflowError,
        msgpack.exceptions.UnpackException,
        RecursionError,
    ) as error:
        raise PeerFault(f"not canonical MessagePack: {error}", code="undecodable") from None
    if canonical != raw:
        raise PeerFault("bytes are not the canonical encoding", code="not_canonical")
    return value


def pack_record(record: msgspec.Struct) -> bytes:
    """Encode one record; the bytes are what gets signed, hashed, sent and stored."""
    return pack(msgspec.to_builtins(record, builtin_types=(bytes,)))


def unpack_record(raw: bytes, kind: type[R], *, limit: int = MAX_RECORD) -> R:
    """Decode one record and check every bound its type declares.

    Raises:
        PeerFault: as :func:`unpack`, or a field is missing, mistyped or out of range.
    """
    value = unpack(raw, limit=limit)
    try:
        # Without builtin_types a base64 text would also pass for bytes: one record would have two encodings.
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise PeerFault(f"not a {kind.__name__}: {error}", code="bad_field") from None


def _ordered(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise TypeError("nested too deeply")
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise TypeError("map keys must be text")
        return {key: _ordered(value[key], depth + 1) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_ordered(item, depth + 1) for item in value]
    if value is None or type(value) in (str, bytes, bool):
        return value
    if type(value) is int and -(2**63) <= value < 2**64:
        return value
    raise TypeError(f"{type(value).__name__} is not allowed in signed data")
