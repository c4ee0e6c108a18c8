"""The codec against its slow twin: plain recursion in Python over another MessagePack library. Of all byte strings
both accept the same ones, read the same values from them, and write the same bytes."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from market import codec
from market.errors import PeerFault
from market.records import JobSpec, Requirements
from tests.fakes.samples import ALL_RECORDS, SPEC

KEYS = st.sampled_from(["", "a", "b", "aa", "é", "\uffff", "\U00010000", "\0", "a\0", "x" * 31, "x" * 32, "zeal"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([edge + step for edge in (0, 2**5, 2**7, 2**8, 2**16, 2**31, 2**32, 2**63) for step in (-1, 0)])
    | KEYS
    | st.sampled_from([bytes(length) for length in (0, 31, 32, 255, 256, 65_535, 65_536)])
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=17) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
ODD = st.sampled_from(
    [
        *(b"\xca" + struct.pack(">f", number) for number in (0.0, 1.0, 1.5)),
        *(b"\xcb" + struct.pack(">d", number) for number in (0.0, -1.0, float("inf"))),
        *(msgpack.packb(odd) for odd in (msgpack.Timestamp(1), msgpack.Timestamp(1, 5), msgpack.ExtType(5, b"abcd"))),
        *(b"\xa3\xed\xa0\x80", b"\xa1\xff", b"\xa2\xc0\x80", b"\xa4\xf4\x90\x80\x80", b"\xc1"),
        *(b"\xcc\x05", b"\xcd\x00\x05", b"\xd0\x05", b"\xd1\x00\x80", b"\xd3" + bytes(8), b"\xd9\x01a"),
        *(b"\xc5\x00\x01a", b"\xdc\x00\x00", b"\xde\x00\x00", b"\xdd\xff\xff\xff\xff", b"\x91" * 17 + b"\x00"),
    ]
)
"""Encodings that are no part of any canonical one."""
WILD = st.recursive(
    PLAIN.map(lambda value: slow_pack(value)) | ODD,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: bytes([0x90 + len(items)]) + b"".join(items))
        | st.lists(st.tuples(KEYS.map(msgpack.packb) | inner, inner), max_size=4).map(lambda pairs: wild_map(pairs))
    ),
    max_leaves=8,
)
RECORDS = [*(record for _, record in ALL_RECORDS), SPEC, Requirements()]
KINDS = sorted({type(record) for record in RECORDS}, key=lambda kind: kind.__name__)


def slow_pack(value: Any) -> bytes:
    return bytes(msgpack.packb(_ordered(value, 0), use_bin_type=True))


def slow_unpack(raw: bytes) -> Any:
    try:
        value = msgpack.unpackb(raw, raw=False, strict_map_key=True)
        canonical = slow_pack(value)
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise PeerFault(str(error)) from None
    if canonical != raw or len(raw) > codec.MAX_RECORD:
        raise PeerFault("not canonical")
    return value


def slow_record(raw: bytes, kind: type) -> Any:
    value = slow_unpack(raw)
    try:
        return msgspec.convert(value, kind, strict=True, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise PeerFault(str(error)) from None


def _ordered(value: Any, depth: int) -> Any:
    if depth > 16:
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


def wild_map(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return bytes([0x80 + len(pairs)]) + b"".join(key + value for key, value in pairs)


def outcome(read: Any, *args: Any) -> tuple[str, Any]:
    """What reading gives, types and order included; the words of a refusal left out."""
    try:
        return "read", repr(read(*args))
    except PeerFault:
        return "refused", None


def agree(raw: bytes) -> None:
    assert outcome(codec.unpack, raw) == outcome(slow_unpack, raw)
    for kind in KINDS:
        assert outcome(codec.unpack_record, raw, kind) == outcome(slow_record, raw, kind)


@given(PLAIN)
def test_both_write_the_same(value: Any):
    assert codec.pack(value) == slow_pack(value)


@settings(max_examples=300, deadline=None)
@given(WILD)
def test_both_read_the_same(raw: bytes):
    agree(raw)


@given(st.binary(max_size=12))
def test_both_read_the_same_junk(raw: bytes):
    agree(raw)


@given(st.integers(12, 20), st.sampled_from([b"\x00", b"\x90", b"\x80", b"\x81\xa1a\x00", b"\xcb" + bytes(8)]))
def test_both_stop_at_the_same_depth(depth: int, core: bytes):
    agree(b"\x91" * depth + core)
    agree(b"\x81\xa1a" * depth + core)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RECORDS), st.data())
def test_both_read_the_same_from_a_record_with_changed_bytes(record: Any, data: st.DataObject):
    raw = bytearray(codec.pack_record(record))
    for _ in range(data.draw(st.integers(0, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    agree(bytes(raw))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RECORDS), PLAIN, ODD, st.data())
def test_both_read_the_same_from_a_record_with_other_fields(record: Any, junk: Any, odd: bytes, data: st.DataObject):
    """Fields of the future, fields left out, junk in fields, and the order of keys: what peers of other versions send,
    and what they must not."""
    fields = {name: slow_pack(value) for name, value in codec.unpack(codec.pack_record(record)).items()}
    name = data.draw(st.sampled_from(sorted(fields)))
    fields |= data.draw(st.sampled_from([{}, {"zeal": slow_pack(junk)}, {name: slow_pack(junk)}, {name: odd}]))
    if data.draw(st.booleans()):
        del fields[data.draw(st.sampled_from(sorted(fields)))]
    order = sorted(fields) if data.draw(st.integers(0, 3)) else data.draw(st.permutations(sorted(fields)))
    head = b"\xde" + len(order).to_bytes(2, "big") if len(order) > 15 else bytes([0x80 + len(order)])
    agree(head + b"".join(msgpack.packb(key) + fields[key] for key in order))


@given(st.lists(st.binary(max_size=40), max_size=20) | PLAIN, st.data())
def test_a_list_of_byte_strings_is_read_as_any_value_is(value: Any, data: st.DataObject):
    raw = bytearray(slow_pack(value))
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    said, plain = outcome(slow_unpack, bytes(raw)), None
    if said[0] == "read":
        plain = slow_unpack(bytes(raw))
    is_list = isinstance(plain, list) and all(type(item) is bytes for item in plain)
    assert outcome(codec.unpack_list, bytes(raw)) == (said if is_list else ("refused", None))


def test_only_kinds_that_hold_plain_data_are_read_the_short_way():
    """A record with a float in it could be read and written again without a difference."""

    class Loose(msgspec.Struct):
        ratio: float

    assert outcome(codec.unpack_record, msgspec.msgpack.encode(Loose(1.5)), Loose) == ("refused", None)
    assert codec._typed_decoder(Loose) is None
    assert all(codec._typed_decoder(kind) is not None for kind in [*KINDS, JobSpec])
