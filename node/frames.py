"""Frames on a byte stream: a four-byte length, then canonical MessagePack. Lengths are checked before allocating.

Nothing here waits for a peer without end: a whole frame, a raw piece and anything sent must each be through within
``STREAM_IDLE_TIMEOUT_S``. A peer that falls silent with a stream open would otherwise keep a file and a task of ours
for nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

from market import codec
from market.errors import PeerFault
from node.ports import ByteStream, PeerUnreachable
from node.wire import STREAM_IDLE_TIMEOUT_S

MAX_FRAME = 1024 * 1024


class FrameReader:
    """Reads frames, and raw bytes between them, from one stream. Never reads past what it was asked for twice."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self._buffer = bytearray()

    async def frame(self, *, limit: int = MAX_FRAME) -> Any:
        """The next frame, decoded.

        Raises:
            PeerUnreachable: the stream ended or broke first, or the frame was not whole in time.
            PeerFault: the frame is over ``limit`` bytes or not canonical.
        """
        # One limit for all of it: a byte a minute would keep a stranger's stream open for a day.
        with in_time():
            return await self._frame(limit)

    async def _frame(self, limit: int) -> Any:
        length = int.from_bytes(await self._exactly(4), "big")
        if length > limit:
            raise PeerFault(f"a frame of {length} bytes is over the limit of {limit}", code="oversized")
        return codec.unpack(await self._exactly(length), limit=limit)

    async def maybe_frame(self, *, limit: int = MAX_FRAME) -> Any | None:
        """The next frame, or None when the other side ended the stream cleanly before it."""
        if not self._buffer:
            with in_time():
                self._buffer += await self.stream.receive()
            if not self._buffer:
                return None
        return await self.frame(limit=limit)

    async def raw(self, most: int) -> bytes:
        """Some raw bytes, at most ``most``; empty at the clean end of the stream."""
        if self._buffer:
            piece = bytes(self._buffer[:most])
            del self._buffer[:most]
            return piece
        with in_time():
            return await self.stream.receive(most)

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = await self.stream.receive()
            if not piece:
                raise PeerUnreachable("the stream ended inside a frame")
            self._buffer += piece
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


async def send_frame(stream: ByteStream, value: Any) -> None:
    """Send one value as a frame.

    Raises:
        ValueError: the value is over the frame limit: our own mistake.
        PeerUnreachable: the stream broke, or the other side took nothing in time.
    """
    body = codec.pack(value)
    if len(body) > MAX_FRAME:
        raise ValueError("frame too large")
    await send_raw(stream, len(body).to_bytes(4, "big") + body)


async def send_raw(stream: ByteStream, data: bytes) -> None:
    """Send bytes between frames.

    Raises:
        PeerUnreachable: the stream broke, or the other side took nothing in time.
    """
    with in_time():
        await stream.send(data)


async def close_soon(stream: ByteStream) -> None:
    """Close a stream even while being cancelled, but never wait long for the other side."""
    with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
        await stream.aclose()


@asynccontextmanager
async def conversation(stream: ByteStream) -> AsyncIterator[FrameReader]:
    """Read from a stream that we opened; it is closed at the end, and reset when anything went wrong.

    A stream only closed on our side lets a peer go on sending into our buffers.
    """
    try:
        yield FrameReader(stream)
    except BaseException:
        with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
            await stream.reset()
        raise
    await close_soon(stream)


@contextmanager
def in_time() -> Iterator[None]:
    """Give the other side ``STREAM_IDLE_TIMEOUT_S`` for what happens in the block.

    Raises:
        PeerUnreachable: it took longer.
    """
    try:
        with trio.fail_after(STREAM_IDLE_TIMEOUT_S):
            yield
    except trio.TooSlowError:
        raise PeerUnreachable(f"the other side fell silent for {STREAM_IDLE_TIMEOUT_S:.0f} seconds") from None
