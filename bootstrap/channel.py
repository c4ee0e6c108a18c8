"""What every layer of a connection looks like to the next: bytes out, bytes in, closed. And what "broken"
means.

A connection is a tower of channels: socket, Noise, Yamux stream. Each hides its library's errors behind
:class:`ChannelBroken`, so the layer above has one thing to handle.
"""

from __future__ import annotations

from typing import Protocol

import trio


class ChannelBroken(Exception):
    """The bytes stopped: closed, reset, silent for too long, or the other side broke the protocol."""


class Channel(Protocol):
    """An ordered two-way flow of bytes. Only one task sends and one receives at a time."""

    async def send(self, data: bytes) -> None:
        """Send all of it. Raises ``ChannelBroken``."""
        ...

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes, empty at the clean end. Raises ``ChannelBroken``."""
        ...

    async def aclose(self) -> None:
        """Close it. Never raises."""
        ...


class SocketChannel:
    """A TCP connection as a channel."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelBroken("the connection broke") from None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelBroken("the connection broke") from None

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


class Buffered:
    """A channel that can also hand out an exact number of bytes; what is read ahead stays for the next
    reader."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._ahead = bytearray()

    async def send(self, data: bytes) -> None:
        await self._channel.send(data)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if not self._ahead:
            return await self._channel.receive(max_bytes)
        data = bytes(self._ahead[:max_bytes])
        del self._ahead[:max_bytes]
        return data

    async def receive_exactly(self, count: int) -> bytes:
        """Exactly ``count`` bytes; the caller has checked that it wants to hold that many.

        Raises:
            ChannelBroken: it ended or broke before.
        """
        while len(self._ahead) < count:
            data = await self._channel.receive()
            if not data:
                raise ChannelBroken("ended in the middle of a message")
            self._ahead += data
        taken = bytes(self._ahead[:count])
        del self._ahead[:count]
        return taken

    async def receive_varint(self) -> int:
        """An unsigned LEB128 number below 2**28, the length prefix of libp2p. Raises ``ChannelBroken``."""
        number = 0
        for shift in range(0, 28, 7):
            byte = (await self.receive_exactly(1))[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise ChannelBroken("a length that no message of ours has")

    async def aclose(self) -> None:
        await self._channel.aclose()


def varint(number: int) -> bytes:
    """Unsigned LEB128."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
