"""Canonical MessagePack: one value, one encoding.

A signature is over bytes, so two encodings of one value would be two records. Anything that is not byte for byte
what :func:`pack` would have written is refused: unsorted or repeated keys, long forms of short numbers, floats,
extension types, trailing bytes. The check is the encoding itself: what was read is written again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, TypeVar

import msgpack
import msgspec
from msgspec import inspect

from market.errors import PeerFault

R = TypeVar("R", bound=msgspec.Struct)

MAX_RECORD = 64 * 1024
MAX_UNKNOWN = 16 * 1024
"""Of a record, in fields that we do not know. They are read to check their form, and a mebibyte of empty lists is
seventy of memory and half a second."""
_MAX_DEPTH = 16
_SHALLOW = 1024
"""So many bytes cannot nest too deeply for the reader."""
_LEAVES = frozenset((type(None), bool, int, str, bytes))
_KEYS = frozenset((str,))
_DECODE = msgspec.msgpack.Decoder().decode
_DECODE_LIST = msgspec.msgpack.Decoder(list[bytes]).decode
_ENCODE = msgspec.msgpack.Encoder(order="sorted").encode


def pack(value: Any) -> bytes:
    """Encode plain data (text keys, ints within 64 bits, text, bytes, booleans, None, lists) canonically.

    Raises:
        TypeError: a float, a non-text key or any other type that signed data must not hold.
    """
    _check_plain(value, 0)
    try:
        return _ENCODE(value)
    except OverflowError:
        raise TypeError("an int over 64 bits is not allowed in signed data") from None


def unpack(raw: bytes, *, limit: int = MAX_RECORD) -> Any:
    """Decode bytes that must be canonical.

    Raises:
        PeerFault: too large, not MessagePack, or not the canonical encoding of what it says.
    """
    _check_size(raw, limit)
    try:
        value = _DECODE(raw)
        canonical = pack(value)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as error:
        raise PeerFault(f"not canonical MessagePack: {error}", code="undecodable") from None
    if canonical != raw:
        raise PeerFault("bytes are not the canonical encoding", code="not_canonical")
    return value


def unpack_list(raw: bytes, *, limit: int = MAX_RECORD) -> list[bytes]:
    """Decode a canonical list of byte strings, such as a batch of envelopes: nothing else is built on the way.

    Raises:
        PeerFault: as :func:`unpack`, or it is no such list.
    """
    _check_size(raw, limit)
    try:
        items = _DECODE_LIST(raw)
    except msgspec.ValidationError as error:
        raise PeerFault(f"not a list of byte strings: {error}", code="not_a_batch") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise PeerFault(f"not canonical MessagePack: {error}", code="undecodable") from None
    if _ENCODE(items) != raw:
        raise PeerFault("bytes are not the canonical encoding", code="not_canonical")
    return items


def is_shallow(raw: bytes) -> bool:
    """Whether bytes nest no deeper than reading them one level at a time can stand.

    The reader calls itself for every level and relies on the interpreter's limit, which some libraries raise so far
    that the stack is used up before it: some kibibytes of brackets would end the process. This does not call itself.
    """
    if len(raw) <= _SHALLOW:
        return True
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=len(raw))
    unpacker.feed(raw)
    try:
        unpacker.skip()
    except (ValueError, msgpack.exceptions.UnpackException):
        return False
    return True


def pack_record(record: msgspec.Struct) -> bytes:
    """Encode one record; the bytes are what gets signed, hashed, sent and stored."""
    return pack(msgspec.to_builtins(record, builtin_types=(bytes,)))


def unpack_record(raw: bytes, kind: type[R], *, limit: int = MAX_RECORD) -> R:
    """Decode one record and check every bound its type declares.

    Raises:
        PeerFault: as :func:`unpack`, or a field is missing, mistyped or out of range.
    """
    if type(raw) is bytes and len(raw) <= limit and is_shallow(raw) and (decode := _typed_decoder(kind)) is not None:
        try:
            record: R = decode(raw)
            known = _ENCODE(record)
            if known == raw:
                # The very bytes that we would write for it: that proves the form, and is quick.
                return record
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            if len(raw) > MAX_RECORD:
                raise PeerFault(f"not a {kind.__name__}: {error}", code="bad_field") from None
        else:
            if len(raw) - len(known) > MAX_UNKNOWN:
                raise PeerFault(f"a {kind.__name__} with too much in it that is not known", code="oversized")
    # A fault, or a record of an older or newer peer, with fields we lack or lacking fields we have.
    value = unpack(raw, limit=limit)
    try:
        # Without builtin_types a base64 text would also pass for bytes: one record would have two encodings.
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise PeerFault(f"not a {kind.__name__}: {error}", code="bad_field") from None


@cache
def _typed_decoder(kind: type[R]) -> Callable[[bytes], R] | None:
    """Decodes records that can hold only what signed data may; None for other kinds."""
    return msgspec.msgpack.Decoder(kind).decode if _holds_plain(inspect.type_info(kind), 0) else None


def _holds_plain(kind: inspect.Type, depth: int) -> bool:
    match kind:
        case _ if depth > _MAX_DEPTH:
            return False
        case inspect.IntType() | inspect.StrType() | inspect.BytesType() | inspect.BoolType() | inspect.NoneType():
            return True
        case inspect.EnumType(cls=cls):
            return issubclass(cls, str)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            return _holds_plain(item, depth + 1)
        case inspect.DictType(key_type=inspect.StrType(), value_type=item):
            return _holds_plain(item, depth + 1)
        case inspect.StructType(fields=fields):
            return all(_holds_plain(field.type, depth + 1) for field in fields)
        case _:
            return False


def _check_size(raw: bytes, limit: int) -> None:
    if not isinstance(raw, bytes):
        # Peers choose the types inside a message, and what should be an envelope may be a number.
        raise PeerFault(f"{type(raw).__name__} where bytes belong", code="undecodable")
    if len(raw) > limit:
        raise PeerFault(f"record of {len(raw)} bytes is over the limit of {limit}", code="oversized")
    if not is_shallow(raw):
        raise PeerFault("not canonical MessagePack: cut short, or nested too deeply", code="undecodable")


def _check_plain(value: Any, depth: int) -> None:
    """Raise TypeError unless the value consists of what signed data may hold, not nested too deeply."""
    inner: Iterable[Any]
    if isinstance(value, dict):
        if not _KEYS.issuperset(map(type, value)):
            raise TypeError("map keys must be text")
        inner = value.values()
    elif isinstance(value, list | tuple):
        inner = value
    elif type(value) in _LEAVES:
        return
    else:
        raise TypeError(f"{type(value).__name__} is not allowed in signed data")
    if depth == _MAX_DEPTH and value:
        raise TypeError("nested too deeply")
    if _LEAVES.issuperset(map(type, inner)):  # almost always, and without a call for each
        return
    for item in inner:
        if type(item) not in _LEAVES:
            _check_plain(item, depth + 1)
