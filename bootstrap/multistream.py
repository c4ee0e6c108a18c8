"""multistream-select 1.0: how two peers agree on the protocol spoken over a channel. One round trip when they
do.

Source: https://github.com/multiformats/multistream-select. ``ls`` is answered like an unknown protocol.
"""

from __future__ import annotations

from collections.abc import Container

from bootstrap.channel import Buffered, ChannelBroken, varint

_HEADER = "/multistream/1.0.0"
_UNKNOWN = "na"
_MAX_LINE = 256
_MAX_TRIES = 8


async def propose(channel: Buffered, protocol: str) -> None:
    """Ask the other side to speak ``protocol``.

    Raises:
        ChannelBroken: it does not speak it, or not even multistream-select.
    """
    await channel.send(_line(_HEADER) + _line(protocol))
    if await _read_line(channel) != _HEADER or await _read_line(channel) != protocol:
        raise ChannelBroken(f"the peer does not speak {protocol}")


async def agree(channel: Buffered, known: Container[str]) -> str:
    """Wait for a proposal that we know, and return it.

    Raises:
        ChannelBroken: none came, or something else did.
    """
    if await _read_line(channel) != _HEADER:
        raise ChannelBroken("the peer does not speak multistream-select")
    reply = _line(_HEADER)
    for _ in range(_MAX_TRIES):
        protocol = await _read_line(channel)
        if protocol in known:
            await channel.send(reply + _line(protocol))
            return protocol
        await channel.send(reply + _line(_UNKNOWN))
        reply = b""
    raise ChannelBroken("the peer proposed nothing that we speak")


def _line(text: str) -> bytes:
    data = text.encode() + b"\n"
    return varint(len(data)) + data


async def _read_line(channel: Buffered) -> str:
    length = await channel.receive_varint()
    if not 0 < length <= _MAX_LINE:
        raise ChannelBroken("a line of impossible length")
    line = await channel.receive_exactly(length)
    try:
        return line.decode("ascii").removesuffix("\n")
    except UnicodeDecodeError:
        raise ChannelBroken("a line that is no text") from None
