"""The two ends of a byte stream between two in-memory nodes: in order, with delay, with back-pressure."""

from __future__ import annotations

from collections.abc import Callable

import trio

from node.ports import PeerUnreachable

_CHUNK = 64 * 1024
_CHUNKS_IN_FLIGHT = 8


class MemoryStream:
    """One end. Made in pairs by :func:`stream_pair`."""

    def __init__(
        self,
        peer: bytes,
        outgoing: trio.MemorySendChannel[tuple[float, bytes]],
        incoming: trio.MemoryReceiveChannel[tuple[float, bytes]],
        delay: Callable[[], float],
    ) -> None:
        self._peer = peer
        self._outgoing, self._incoming, self._delay = outgoing, incoming, delay
        self._arrives_at = 0.0
        self._rest = b""
        self._sent_eof = self._seen_eof = self._broken = False
        self.other: MemoryStream

    @property
    def peer(self) -> bytes:
        return self._peer

    @property
    def is_over(self) -> bool:
        """Whether it broke, or both sides said all they had to say."""
        return self._broken or (self._sent_eof and self.other._sent_eof)

    async def send(self, data: bytes) -> None:
        if self._sent_eof:
            raise PeerUnreachable("sent after the end")
        for start in range(0, len(data), _CHUNK):
            await self._put(data[start : start + _CHUNK])

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._rest and not self._seen_eof:
            try:
                arrives_at, self._rest = await self._incoming.receive()
                await trio.sleep_until(arrives_at)
            except (trio.EndOfChannel, trio.ClosedResourceError):
                raise PeerUnreachable("the stream broke") from None
            self._seen_eof = not self._rest
        if self._broken:
            raise PeerUnreachable("the stream broke")
        data, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return data

    async def send_eof(self) -> None:
        if not self._sent_eof:
            self._sent_eof = True
            await self._put(b"")

    async def aclose(self) -> None:
        if not self._broken:
            await self.send_eof()

    async def reset(self) -> None:
        self.break_now()
        await trio.lowlevel.checkpoint()

    def break_now(self) -> None:
        """Both ends fail from here on, whoever waits at them is woken, and bytes in flight are lost."""
        for end in (self, self.other):
            end._broken = True
            end._outgoing.close()
            end._incoming.close()

    async def _put(self, chunk: bytes) -> None:
        # Never before the chunk ahead of it: a stream keeps its order whatever the delay of each piece.
        self._arrives_at = max(self._arrives_at, trio.current_time() + self._delay())
        try:
            await self._outgoing.send((self._arrives_at, chunk))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise PeerUnreachable("the stream broke") from None


def stream_pair(
    near: bytes, far: bytes, delay_out: Callable[[], float], delay_back: Callable[[], float]
) -> tuple[MemoryStream, MemoryStream]:
    """Two joined ends: the one that ``near`` holds, and the one that ``far`` holds."""
    send_out, receive_out = trio.open_memory_channel[tuple[float, bytes]](_CHUNKS_IN_FLIGHT)
    send_back, receive_back = trio.open_memory_channel[tuple[float, bytes]](_CHUNKS_IN_FLIGHT)
    near_end = MemoryStream(far, send_out, receive_back, delay_out)
    far_end = MemoryStream(near, send_back, receive_out, delay_back)
    near_end.other, far_end.other = far_end, near_end
    return near_end, far_end
