"""Exact reads over a channel."""

from __future__ import annotations

import pytest
import trio.testing

from bootstrap.channel import Buffered, ChannelBroken, SocketChannel, varint


def channels() -> tuple[Buffered, Buffered]:
    near, far = trio.testing.memory_stream_pair()
    return Buffered(SocketChannel(near)), Buffered(SocketChannel(far))


async def test_exact_reads_keep_the_rest() -> None:
    near, far = channels()
    await near.send(b"abcdef")
    assert await far.receive_exactly(2) == b"ab"
    assert await far.receive(1) == b"c"
    assert await far.receive() == b"def"


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 2**28 - 1])
async def test_numbers_pass(number: int) -> None:
    near, far = channels()
    await near.send(varint(number) + b"x")
    assert await far.receive_varint() == number
    assert await far.receive() == b"x"


@pytest.mark.parametrize("encoded", [varint(2**28), b"\xff" * 10])
async def test_absurd_numbers_break_the_channel(encoded: bytes) -> None:
    near, far = channels()
    await near.send(encoded)
    with pytest.raises(ChannelBroken):
        await far.receive_varint()


async def test_an_end_in_the_middle_breaks_it() -> None:
    near, far = channels()
    await near.send(b"ab")
    await near.aclose()
    with pytest.raises(ChannelBroken):
        await far.receive_exactly(3)


async def test_using_a_closed_one_breaks_it() -> None:
    near, far = channels()
    await near.aclose()
    with pytest.raises(ChannelBroken):
        await near.send(b"x")
    with pytest.raises(ChannelBroken):
        await near.receive()
    assert await far.receive() == b""
