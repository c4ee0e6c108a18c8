"""Canonical encoding: every record comes back as it was, and of all byte strings only its own means it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, inspect

from market import codec
from market.errors import PeerFault
from market.records import Award, Bid, JobSpec, Lease, Offer, Refusal, Requirements, UsageReport
from market.signing import verify
from tests.fakes.samples import ALL_RECORDS

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=20,
)
KINDS: tuple[type[Struct], ...] = (Offer, Bid, Award, Lease, Refusal, UsageReport, JobSpec, Requirements)


def values(kind: inspect.Type) -> st.SearchStrategy[Any]:
    """Values within the bounds that a field's type declares, its ends included."""
    match kind:
        case inspect.IntType(ge=least, le=most):
            return st.sampled_from([least, most]) | st.integers(least, most)
        case inspect.BytesType(min_length=least, max_length=most):
            return st.binary(min_size=least or 0, max_size=min(most, 100))
        case inspect.StrType(max_length=most):
            return st.text(max_size=min(most or 20, 20))
        case inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            return st.lists(values(item), min_size=least or 0, max_size=min(most, 4)).map(tuple)
        case inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=4)
        case inspect.BoolType():
            return st.booleans()
        case inspect.EnumType(cls=cls):
            return st.sampled_from(list(cls))
        case inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
    raise AssertionError(f"a field of a signed record is a {kind}")


RECORDS = st.one_of([values(inspect.type_info(kind)) for kind in KINDS])


@given(PLAIN)
def test_plain_data_comes_back_as_it_was(value: Any):
    raw = codec.pack(value)
    assert codec.unpack(raw) == value
    assert codec.pack(codec.unpack(raw)) == raw


@given(PLAIN, st.randoms())
def test_the_order_of_insertion_leaves_no_trace(value: Any, luck: Any):
    assert codec.pack(_shuffled(value, luck)) == codec.pack(value)


@given(PLAIN)
def test_another_library_reads_the_same(value: Any):
    assert msgspec.msgpack.decode(codec.pack(value)) == value


@given(st.binary(max_size=200))
def test_whatever_bytes_are_read_are_the_one_encoding_of_what_they_say(raw: bytes):
    try:
        value = codec.unpack(raw)
    except PeerFault:
        return
    assert codec.pack(value) == raw


@given(PLAIN, st.data())
def test_a_changed_byte_means_something_else_or_nothing(value: Any, data: st.DataObject):
    raw = bytearray(codec.pack(value))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        other = codec.unpack(bytes(raw))
    except PeerFault:
        return
    assert codec.pack(other) != codec.pack(value)


@settings(deadline=None)
@given(RECORDS)
def test_a_record_comes_back_as_it_was(record: Struct):
    raw = codec.pack_record(record)
    assert codec.unpack_record(raw, type(record), limit=2**20) == record
    assert codec.pack_record(codec.unpack_record(raw, type(record), limit=2**20)) == raw


@given(st.sampled_from(KINDS), PLAIN)
def test_junk_is_no_record_and_raises_nothing_else(kind: type[Struct], junk: Any):
    try:
        read = codec.unpack_record(codec.pack(junk), kind)
    except PeerFault:
        return
    assert isinstance(read, kind)
    assert read == Requirements(), "only a record all of whose fields have defaults can be read from strange keys"


@settings(max_examples=300)
@given(st.sampled_from(ALL_RECORDS), PLAIN, st.data())
def test_one_field_of_junk_never_raises_anything_else(author_and_record: Any, junk: Any, data: st.DataObject):
    author, record = author_and_record
    plain = codec.unpack(codec.pack_record(record))
    plain[data.draw(st.sampled_from(sorted(plain)))] = junk
    body = codec.pack(plain)
    envelope = {"body": body, "key": author.key, "sig": bytes(64)}
    try:
        verify(codec.pack(envelope), type(record))
    except PeerFault:
        return
    raise AssertionError("an unsigned record passed")


def _shuffled(value: Any, luck: Any) -> Any:
    if isinstance(value, dict):
        names = list(value)
        luck.shuffle(names)
        return {name: _shuffled(value[name], luck) for name in names}
    return [_shuffled(item, luck) for item in value] if isinstance(value, list) else value
