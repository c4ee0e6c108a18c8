"""One value, one encoding: whatever else says the same is refused, and junk without an error of its own."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest
from msgspec import Struct

from market import codec
from market.errors import PeerFault
from market.records import Requirements
from tests.fakes.samples import ALL_RECORDS, SPEC

ROOT = Path(__file__).parents[3]
DEEP = b"\x91" * 40 + b"\x00"
VERY_DEEP = b"\x91" * 60_000 + b"\x00"

HOSTILE = {
    "nothing": b"",
    "keys out of order": b"\x82\xa1b\x01\xa1a\x02",
    "a key twice": b"\x82\xa1a\x01\xa1a\x01",
    "a short number in its 16-bit form": b"\xcd\x00\x05",
    "a short number in its 64-bit form": b"\xcf" + bytes(7) + b"\x05",
    "a positive number in its signed form": b"\xd0\x05",
    "a short text in its 8-bit form": b"\xd9\x01a",
    "a short binary in its 32-bit form": b"\xc6\x00\x00\x00\x01a",
    "a short list in its 16-bit form": b"\xdc\x00\x01\x00",
    "a short map in its 32-bit form": b"\xdf\x00\x00\x00\x00",
    "a float": msgpack.packb(1.5),
    "a float that is whole": msgpack.packb(1.0),
    "a 32-bit float": b"\xca\x3f\x80\x00\x00",
    "not a number": msgpack.packb(float("nan")),
    "an extension": msgpack.packb(msgpack.ExtType(5, b"x")),
    "a timestamp": msgpack.packb(msgpack.Timestamp(1)),
    "a binary key": b"\x81\xc4\x01a\x01",
    "a number as key": b"\x81\x01\x01",
    "a list as key": b"\x81\x91\x01\x01",
    "nil as key": b"\x81\xc0\x01",
    "text that is not UTF-8": b"\xa1\xff",
    "a surrogate in text": b"\xa3\xed\xa0\x80",
    "trailing bytes": b"\x01\x01",
    "a list cut short": b"\x92\x01",
    "a list that claims four thousand million items": b"\xdd\xff\xff\xff\xff",
    "a binary that claims four gigabytes": b"\xc6\xff\xff\xff\xff",
    "the byte that means nothing": b"\xc1",
    "nested too deeply": DEEP,
    "nested far too deeply": VERY_DEEP,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_encoding_is_refused(what: str):
    with pytest.raises(PeerFault) as refused:
        codec.unpack(HOSTILE[what])
    assert refused.value.code in ("undecodable", "not_canonical")


@pytest.mark.parametrize("junk", [None, 5, True, 1.5, "text", [b"x"], {"a": b"x"}])
def test_what_is_not_even_bytes_is_the_peers_fault_too(junk: object):
    with pytest.raises(PeerFault):
        codec.unpack(junk)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_list_is_refused(what: str):
    for raw in (HOSTILE[what], b"\x92\xc4\x01a" + HOSTILE[what]):
        with pytest.raises(PeerFault):
            codec.unpack_list(raw)


def test_a_list_of_byte_strings_holds_nothing_else():
    assert codec.unpack_list(codec.pack([b"a", b"", b"x" * 300])) == [b"a", b"", b"x" * 300]
    for other in ([b"a", "b"], [b"a", 5], [[b"a"]], [None], {}, b"a", 5):
        with pytest.raises(PeerFault) as refused:
            codec.unpack_list(codec.pack(other))
        assert refused.value.code == "not_a_batch"
    with pytest.raises(PeerFault) as refused:
        codec.unpack_list(b"\xdc\x00\x01\xc4\x01a")
    assert refused.value.code == "not_canonical"
    with pytest.raises(PeerFault) as refused:
        codec.unpack_list(codec.pack([b"a" * 100]), limit=50)
    assert refused.value.code == "oversized"


def test_the_limit_is_the_last_length_that_passes():
    raw = codec.pack(b"x" * 100)
    assert codec.unpack(raw, limit=len(raw)) == b"x" * 100
    with pytest.raises(PeerFault) as refused:
        codec.unpack(raw, limit=len(raw) - 1)
    assert refused.value.code == "oversized"


@pytest.mark.parametrize(
    "value", [1.0, {1: 2}, {b"a": 1}, 2**64, -(2**63) - 1, {"a": {1.5}}, object(), bytearray(b"x")]
)
def test_what_signed_data_must_not_hold_is_not_written(value: object):
    with pytest.raises(TypeError):
        codec.pack(value)


def test_the_widest_integers_survive():
    for number in (2**64 - 1, -(2**63), 0, -1, 127, 128, -32, -33):
        assert codec.unpack(codec.pack(number)) == number


def test_depth_ends_where_it_is_said_to():
    def nested(depth: int) -> object:
        return [nested(depth - 1)] if depth else 0

    assert codec.unpack(codec.pack(nested(16))) == nested(16)
    with pytest.raises(TypeError):
        codec.pack(nested(17))


def test_keys_are_sorted_however_they_were_inserted():
    assert codec.pack({"b": 1, "a": {"d": 1, "c": 2}}) == codec.pack({"a": {"c": 2, "d": 1}, "b": 1})


@pytest.mark.parametrize(("signer", "record"), ALL_RECORDS)
def test_base64_text_does_not_pass_for_bytes(signer: object, record: Struct):
    """One record must not have a second encoding: its id would change and its meaning would not."""
    plain = codec.unpack(codec.pack_record(record))
    for name, value in plain.items():
        if isinstance(value, bytes):
            twisted = codec.pack({**plain, name: base64.b64encode(value).decode()})
            with pytest.raises(PeerFault) as refused:
                codec.unpack_record(twisted, type(record))
            assert refused.value.code == "bad_field"


def test_a_record_of_another_shape_is_refused():
    for value in ([], {}, 5, None, "x", {"image": "x"}, [1, 2]):
        with pytest.raises(PeerFault) as refused:
            codec.unpack_record(codec.pack(value), type(SPEC))
        assert refused.value.code == "bad_field"


def test_numbers_and_truths_are_not_mistaken_for_each_other():
    plain = codec.unpack(codec.pack_record(Requirements()))
    for spoiled in ({"slots": True}, {"slots": "1"}, {"allow_simulated": 1}, {"slots": None}, {"gpus": "rtx4090"}):
        with pytest.raises(PeerFault):
            codec.unpack_record(codec.pack({**plain, **spoiled}), Requirements)


def test_a_field_of_the_future_is_ignored():
    raw = codec.pack({**codec.unpack(codec.pack_record(SPEC)), "zeal": [1, {"x": b"y"}]})
    assert codec.unpack_record(raw, type(SPEC)) == SPEC


def test_fields_of_a_newer_peer_have_room_but_not_any_amount():
    plain = codec.unpack(codec.pack_record(Requirements()))
    assert codec.unpack_record(codec.pack({**plain, "new": "x" * 16_000}), Requirements) == Requirements()
    with pytest.raises(PeerFault) as fault:
        codec.unpack_record(codec.pack({**plain, "new": [[]] * 17_000}), Requirements)
    assert fault.value.code == "oversized"


def test_a_large_record_that_is_none_is_not_read_twice():
    with pytest.raises(PeerFault) as fault:
        codec.unpack_record(codec.pack({"slots": 0, "new": [[]] * 100_000}), Requirements, limit=1 << 20)
    assert fault.value.code == "bad_field"


def test_brackets_do_not_end_a_process_whose_recursion_limit_a_library_raised():
    """In a process of its own: without the look beforehand it dies of it."""
    script = r"""
import sys
sys.setrecursionlimit(10**7)
from market import codec
from market.errors import PeerFault
from market.records import Offer
deep = b"\x91" * 60_000 + b"\xc0"
field = b"\x81\xa4deep" + deep
for read in (codec.unpack, codec.unpack_list, lambda raw: codec.unpack_record(raw, Offer)):
    for raw in (deep, field):
        try:
            read(raw)
        except PeerFault:
            continue
        raise SystemExit("accepted")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]
