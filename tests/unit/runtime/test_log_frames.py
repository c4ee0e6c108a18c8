"""Finding the place again in an engine's log, whatever was cut where and whoever read the output before."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.log_frames import MAX_HELD, LogPosition, LogReader, OutputReader, first_entry_time

Entry = tuple[int, int, bytes]


def stamp(nanoseconds: int) -> bytes:
    return f"2025-01-02T03:04:{nanoseconds // 10**9:02d}.{nanoseconds % 10**9:09d}Z".encode()


def raw(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


def frame(stream: int, nanoseconds: int, data: bytes) -> bytes:
    return raw(stream, stamp(nanoseconds) + b" " + data)


def log(entries: list[Entry]) -> bytes:
    return b"".join(frame(*entry) for entry in entries)


def text(entries: list[Entry]) -> bytes:
    return b"".join(data for _, _, data in entries)


def of_stream(entries: list[Entry], stream: int) -> bytes:
    return b"".join(data for which, _, data in entries if which == stream)


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
    assert again.gap is None


@given(logs(), st.data())
def test_the_log_goes_on_where_the_streams_were_left(entries: list[Entry], data: st.DataObject) -> None:
    """The streams are cut anywhere, even within a line that the log does not have yet."""
    taken = {stream: of_stream(entries, stream) for stream in (1, 2)}
    heard = {stream: whole[: data.draw(st.integers(0, len(whole)))] for stream, whole in taken.items()}
    output = OutputReader(LogPosition())
    output.feed(raw(1, heard[1]) + raw(2, heard[2]), stamp(99))
    output.release()
    output.first = first_entry_time(log(entries))
    reader = LogReader(output.position)
    for which, nanoseconds, piece in entries:
        heard[which] += reader.feed(frame(which, nanoseconds, piece))
    assert heard == taken
    assert reader.gap is None


@given(logs(), st.lists(st.integers(1, 40), max_size=20))
def test_the_cut_of_the_pieces_does_not_matter(entries: list[Entry], cuts: list[int]) -> None:
    whole, reader, got = log(entries), LogReader(LogPosition()), b""
    for length in cuts:
        got += reader.feed(whole[:length])
        whole = whole[length:]
    assert got + reader.feed(whole) == text(entries)


def test_output_the_engine_has_deleted_is_noticed_with_its_times() -> None:
    first = LogReader(LogPosition())
    first.feed(log([(1, 10, b"a\n"), (1, 20, b"b\n")]))
    again = LogReader(first.position)
    assert again.feed(log([(1, 30, b"d\n")])) == b"d\n"
    assert again.gap is not None
    sentence = again.gap.sentence()
    assert f"from {stamp(20).decode()} to {stamp(30).decode()} is missing" in sentence


def test_after_a_deletion_what_was_read_before_is_not_given_again() -> None:
    first = LogReader(LogPosition())
    first.feed(log([(1, 10, b"a\n"), (2, 20, b"b\n")]))
    again = LogReader(first.position)
    assert again.feed(log([(2, 20, b"b\n"), (1, 30, b"c\n")])) == b"c\n"
    assert again.gap is not None
    assert "may be missing or repeated" in again.gap.sentence()


def test_one_deletion_is_said_once_and_counting_begins_anew() -> None:
    first = LogReader(LogPosition())
    first.feed(log([(1, 10, b"a\n")]))
    second = LogReader(first.position)
    second.feed(log([(1, 30, b"c\n"), (2, 31, b"d\n")]))
    third = LogReader(second.position)
    assert third.feed(log([(1, 30, b"c\n"), (2, 31, b"d\n"), (1, 40, b"e\n")])) == b"e\n"
    assert third.gap is None


def test_nothing_new_is_no_gap() -> None:
    first = LogReader(LogPosition())
    first.feed(log([(1, 10, b"a\n")]))
    again = LogReader(first.position)
    assert again.feed(log([(1, 10, b"a\n")])) == b""
    assert again.gap is None
    assert again.position == first.position


def test_half_a_frame_of_the_streams_is_counted_when_it_is_whole() -> None:
    reader, whole = OutputReader(LogPosition()), raw(1, b"hello")
    assert reader.feed(whole[:9], stamp(1)) == b""
    assert reader.position == LogPosition()
    assert reader.feed(whole[9:], stamp(2)) == b"hello"
    assert reader.position == LogPosition(stdout=5, seen=stamp(2))


def test_a_line_is_not_cut_by_the_other_stream() -> None:
    reader = OutputReader(LogPosition())
    assert reader.feed(raw(1, b"out") + raw(2, b"error"), stamp(1)) == b"out"
    assert reader.holds
    assert reader.position.stderr == 0
    assert reader.feed(raw(1, b"\n") + raw(2, b"\n"), stamp(2)) == b"\nerror\n"
    assert not reader.holds
    assert (reader.position.stdout, reader.position.stderr) == (4, 6)


def test_what_is_held_is_given_when_the_line_does_not_end() -> None:
    reader = OutputReader(LogPosition())
    assert reader.feed(raw(2, b"50 %") + raw(1, b"a\n"), stamp(1)) == b"50 %"
    assert reader.release() == b"a\n"
    assert reader.release() == b""
    assert reader.feed(raw(1, b"x" * MAX_HELD), stamp(2)) == b"x" * MAX_HELD
    assert reader.feed(raw(2, b"y" * (MAX_HELD + 1)), stamp(3)) == b"y" * (MAX_HELD + 1)


@given(logs())
def test_holding_loses_nothing_and_keeps_the_order_of_each_stream(entries: list[Entry]) -> None:
    reader, got = OutputReader(LogPosition()), b""
    marked = [(which, b"%d" % which * len(piece) + b"\n" * (at % 2)) for which, at, piece in entries]
    for which, piece in marked:
        got += reader.feed(raw(which, piece), stamp(1))
    got += reader.release()
    for which, digit in ((1, b"1"), (2, b"2")):
        assert got.count(digit) == sum(piece.count(digit) for stream, piece in marked if stream == which)
    assert len(got) == sum(len(piece) for _, piece in marked) == reader.position.stdout + reader.position.stderr


def test_the_first_entrys_time_needs_the_whole_of_it() -> None:
    data = log([(1, 10, b"a\n")])
    assert first_entry_time(data) == stamp(10)
    assert first_entry_time(data[:37]) == b""


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 500 Server Error", struct.pack(">BxxxL", 1, 2**31)])
def test_what_is_not_a_log_is_said(garbage: bytes) -> None:
    with pytest.raises(ValueError, match="multiplexed"):
        LogReader(LogPosition()).feed(garbage)
    with pytest.raises(ValueError, match="multiplexed"):
        OutputReader(LogPosition()).feed(garbage, stamp(1))
