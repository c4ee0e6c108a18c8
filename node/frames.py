"""Frames on a byte stream: a four-byte length, then canonical MessagePack. Lengths are checked before allocating."""

from __future__ import annotations

from typing import Any

import trio

from market import codec
from market.errors import PeerFault
from node.ports import ByteStream, PeerUnreachable

MAX_FRAME = 1024 * 1024


class FrameReader:
    """Reads frames, and raw bytes between them, from one stream. Never reads past what it was asked for twice."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def frame(self, *, limit: int = MAX_FRAME) -> Any:
        """The next frame, decoded.

        Raises:
            PeerUnreachable: the stream ended or broke first.
            PeerFault: the frame is over ``limit`` bytes or not canonical.
        """
        length = int.from_bytes(await self._exactly(4), "big")
        if length > limit:
            raise PeerFault(f"a frame of {length} bytes is over the limit of {limit}", code="oversized")
        return codec.unpack(await self._exactly(length), limit=limit)

    async def maybe_frame(self, *, limit: int = MAX_FRAME) -> Any | None:
        """The next frame, or None when the other side ended the stream cleanly before it."""
        if not self._buffer:
            self._buffer += await self._stream.receive()
            if not self._buffer:
                return None
        return await self.frame(limit=limit)

    async def raw(self, most: int) -> bytes:
        """Some raw bytes, at most ``most``; empty at the clean end of the stream."""
        if self._buffer:
            piece = bytes(self._buffer[:most])
            del self._buffer[:most]
            return piece
        return await self._stream.receive(most)

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            piece = await self._stream.receive()
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
        PeerUnreachable: the stream broke.
    """
    body = codec.pack(value)
    if len(body) > MAX_FRAME:
        raise ValueError("frame too large")
    await stream.send(len(body).to_bytes(4, "big") + body)


async def close_soon(stream: ByteStream) -> None:
    """Close a stream even while being cancelled, but never wait long for the other side."""
    with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
        await stream.aclose()
