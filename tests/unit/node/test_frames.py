"""Frames: whole or not at all, whatever the pieces they come in, and never more memory than was agreed."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from market import codec
from market.errors import PeerFault
from node.frames import MAX_FRAME, FrameReader, close_soon, conversation, send_frame, send_raw
from node.ports import PeerUnreachable
from node.wire import STREAM_IDLE_TIMEOUT_S


class Pieces:
    """A stream that gives prepared pieces and keeps what is sent."""

    peer = b"p" * 32

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""
        self.asked: list[int] = []
        self.closed = trio.Event()

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append(max_bytes)
        return self.pieces.pop(0) if self.pieces else b""

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed.set()

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()


def framed(value: Any) -> bytes:
    body = codec.pack(value)
    return len(body).to_bytes(4, "big") + body


async def test_a_frame_that_was_sent_is_read():
    stream = Pieces()
    await send_frame(stream, {"lease": b"x", "index": 3})
    assert await FrameReader(Pieces(stream.sent)).frame() == {"lease": b"x", "index": 3}


async def test_frames_do_not_care_how_they_are_cut():
    raw = framed({"a": 1}) + framed([b"x" * 300]) + framed(None)
    for size in (1, 2, 3, 7, len(raw)):
        reader = FrameReader(Pieces(*(raw[start : start + size] for start in range(0, len(raw), size))))
        assert [await reader.frame() for _ in range(3)] == [{"a": 1}, [b"x" * 300], None]


async def test_raw_bytes_after_a_frame_are_not_lost_and_not_too_many():
    reader = FrameReader(Pieces(framed(1) + b"abcdef", b"ghi"))
    assert await reader.frame() == 1
    assert await reader.raw(4) == b"abcd"
    assert await reader.raw(4) == b"ef"
    assert await reader.raw(4) == b"ghi"
    assert await reader.raw(4) == b""


async def test_a_frame_too_long_is_refused_before_it_is_read():
    stream = Pieces((MAX_FRAME + 1).to_bytes(4, "big"), b"x" * 100)
    with pytest.raises(PeerFault) as fault:
        await FrameReader(stream).frame()
    assert fault.value.code == "oversized"
    assert len(stream.asked) == 1


async def test_the_limit_is_the_last_length_that_passes():
    raw = framed(b"x" * 10)
    assert await FrameReader(Pieces(raw)).frame(limit=12) == b"x" * 10
    with pytest.raises(PeerFault):
        await FrameReader(Pieces(raw)).frame(limit=11)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\xcd\x00\x05", b"\x01\x01", b"\xca\x00\x00\x00\x00", b"\x91" * 40])
async def test_a_body_that_is_not_canonical_is_refused(body: bytes):
    with pytest.raises(PeerFault):
        await FrameReader(Pieces(len(body).to_bytes(4, "big") + body)).frame()


@pytest.mark.parametrize("cut", [1, 3, 4, 5])
async def test_a_stream_that_ends_inside_a_frame_is_broken(cut: int):
    with pytest.raises(PeerUnreachable):
        await FrameReader(Pieces(framed([1, 2])[:cut])).frame()


async def test_a_stream_that_ends_before_a_frame_has_ended():
    reader = FrameReader(Pieces(framed(7)))
    assert await reader.maybe_frame() == 7
    assert await reader.maybe_frame() is None


async def test_a_stream_that_ends_inside_a_frame_has_not_ended_well():
    with pytest.raises(PeerUnreachable):
        await FrameReader(Pieces(framed([1, 2])[:3])).maybe_frame()


async def test_we_never_send_what_nobody_may_read():
    stream = Pieces()
    await send_frame(stream, b"x" * (MAX_FRAME - 5))
    with pytest.raises(ValueError, match="too large"):
        await send_frame(stream, b"x" * MAX_FRAME)
    assert len(stream.sent) == MAX_FRAME + 4


async def test_closing_works_while_being_cancelled_and_does_not_wait_for_ever(autojump_clock: Any):
    stream = Pieces()
    with trio.CancelScope() as scope:
        scope.cancel()
        await close_soon(stream)
    assert stream.closed.is_set()

    class Stuck(Pieces):
        async def aclose(self) -> None:
            await trio.sleep_forever()

    before = trio.current_time()
    await close_soon(Stuck())
    assert trio.current_time() - before == pytest.approx(1)


class Silent(Pieces):
    """A peer that gives what was prepared, a byte a minute if asked to, and then says and takes nothing for ever."""

    def __init__(self, *pieces: bytes, every_s: float = 0.0) -> None:
        super().__init__(*pieces)
        self.every_s = every_s
        self.was_reset = False

    async def send(self, data: bytes) -> None:
        await trio.sleep_forever()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self.pieces:
            await trio.sleep_forever()
        await trio.sleep(self.every_s)
        return self.pieces.pop(0)

    async def reset(self) -> None:
        await trio.lowlevel.checkpoint()
        self.was_reset = True


@pytest.mark.parametrize(
    "wait",
    [
        lambda: FrameReader(Silent()).frame(),
        lambda: FrameReader(Silent(framed([1])[:5])).frame(),
        lambda: FrameReader(Silent()).maybe_frame(),
        lambda: FrameReader(Silent()).raw(10),
        lambda: send_frame(Silent(), 1),
        lambda: send_raw(Silent(), b"x"),
    ],
)
async def test_a_peer_that_falls_silent_is_not_waited_for(wait: Any, autojump_clock: trio.testing.MockClock):
    with pytest.raises(PeerUnreachable), trio.fail_after(2 * STREAM_IDLE_TIMEOUT_S):
        await wait()


async def test_a_frame_that_drips_is_not_waited_for(autojump_clock: trio.testing.MockClock):
    raw = framed([b"x" * 200])
    reader = FrameReader(Silent(*(raw[n : n + 1] for n in range(len(raw))), every_s=STREAM_IDLE_TIMEOUT_S - 1))
    with pytest.raises(PeerUnreachable), trio.fail_after(2 * STREAM_IDLE_TIMEOUT_S):
        await reader.frame()


async def test_raw_bytes_may_come_slowly(autojump_clock: trio.testing.MockClock):
    reader = FrameReader(Silent(b"a", b"b", b"c", every_s=STREAM_IDLE_TIMEOUT_S - 1))
    assert [await reader.raw(1) for _ in range(3)] == [b"a", b"b", b"c"]


async def test_a_conversation_that_failed_is_reset_and_one_that_ended_is_closed():
    failed, ended = Silent(), Pieces()
    with pytest.raises(PeerFault):
        async with conversation(failed):
            raise PeerFault("a lie", code="lie")
    async with conversation(ended):
        pass
    assert failed.was_reset
    assert ended.closed.is_set()
