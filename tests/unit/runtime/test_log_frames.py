"""Finding the place again in an engine's log, whatever was cut where."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.log_frames import LogPosition, LogReader, Mark

Entry = tuple[int, int, bytes]


def stamp(nanoseconds: int) -> bytes:
    return f"2025-01-02T03:04:{nanoseconds // 10**9:02d}.{nanoseconds % 10**9:09d}Z".encode()


def frame(stream: int, nanoseconds: int, data: bytes) -> bytes:
    payload = stamp(nanoseconds) + b" " + data
    return struct.pack(">BxxxL", stream, len(payload)) + payload


def log(entries: list[Entry]) -> bytes:
    return b"".join(frame(*entry) for entry in entries)


def text(entries: list[Entry]) -> bytes:
    return b"".join(data for _, _, data in entries)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Two streams whose own times never fall, mixed; many entries share a time."""
    clocks = {1: 0, 2: 0}
    entries = []
    for _ in range(draw(st.integers(0, 30))):
        stream = draw(st.sampled_from([1, 2]))
        clocks[stream] = max(clocks[stream], max(clocks.values()) - 2) + draw(st.sampled_from([0, 0, 1, 5]))
        entries.append((stream, clocks[stream], draw(st.binary(max_size=5))))
    return entries


@given(logs(), st.data())
def test_stopped_anywhere_it_goes_on_exactly_there(entries: list[Entry], data: st.DataObject) -> None:
    stop = data.draw(st.integers(0, len(entries)))
    first = LogReader(LogPosition())
    got = first.feed(log(entries[:stop]))
    again = LogReader(first.position)
    got += again.feed(log(entries))
    assert got == text(entries)
    assert not again.gap


@given(logs(), st.lists(st.integers(1, 40), max_size=20))
def test_the_cut_of_the_pieces_does_not_matter(entries: list[Entry], cuts: list[int]) -> None:
    whole, reader, got = log(entries), LogReader(LogPosition()), b""
    for length in cuts:
        got += reader.feed(whole[:length])
        whole = whole[length:]
    assert got + reader.feed(whole) == text(entries)


def test_output_the_engine_has_deleted_is_noticed() -> None:
    first = LogReader(LogPosition())
    first.feed(log([(1, 10, b"a\n")]))
    again = LogReader(first.position)
    assert again.feed(log([(1, 30, b"c\n")])) == b"c\n"
    assert again.gap


def test_nothing_new_is_no_gap() -> None:
    first = LogReader(LogPosition())
    first.feed(log([(1, 10, b"a\n")]))
    again = LogReader(first.position)
    assert again.feed(log([(1, 10, b"a\n")])) == b""
    assert not again.gap
    assert again.position == first.position


def test_asks_from_a_little_before_the_last_entry() -> None:
    position = LogPosition(stdout=Mark(b"2025-01-02T03:04:05.123456789Z", 1))
    assert position.since() == 1735787045 - 2
    assert LogPosition().since() == 0


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 500 Server Error", struct.pack(">BxxxL", 1, 2**31)])
def test_what_is_not_a_log_is_said(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="multiplexed"):
        LogReader(LogPosition()).feed(garbage)
