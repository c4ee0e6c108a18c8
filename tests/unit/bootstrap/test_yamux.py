"""Yamux sessions against each other, and against frames that no honest session sends."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from bootstrap.channel import Buffered, ChannelBroken, SocketChannel
from bootstrap.yamux import GROWTH_BUDGET, MAX_INBOUND_STREAMS, MAX_OUTBOUND_STREAMS, PONG_WITHIN_S, Yamux
from bootstrap.yamux_stream import INITIAL_WINDOW, YamuxStream

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
DEADLINE_S = 10.0


def frame(kind: int, flags: int, number: int, length: int, body: bytes = b"") -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, number, length) + body


@asynccontextmanager
async def sessions() -> AsyncIterator[tuple[Yamux, Yamux, list[YamuxStream]]]:
    """A dialer, the one it dialed, and the streams that the latter was offered."""
    near, far = trio.testing.memory_stream_pair()
    offered: list[YamuxStream] = []
    dialer = Yamux(SocketChannel(near), is_dialer=True, on_stream=YamuxStream.reset_now)
    dialed = Yamux(SocketChannel(far), is_dialer=False, on_stream=offered.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(dialed.run)
        yield dialer, dialed, offered
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def session_and_wire() -> AsyncIterator[tuple[Yamux, Buffered, list[YamuxStream], trio.Event]]:
    """A session that was dialed, the bare other end, its streams, and an event for its end."""
    near, far = trio.testing.memory_stream_pair()
    offered: list[YamuxStream] = []
    ended = trio.Event()
    session = Yamux(SocketChannel(far), is_dialer=False, on_stream=offered.append)

    async def run() -> None:
        await session.run()
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield session, Buffered(SocketChannel(near)), offered, ended
        nursery.cancel_scope.cancel()


async def opened(session: Yamux, offered: list[YamuxStream]) -> tuple[YamuxStream, YamuxStream]:
    count = len(offered)
    stream = await session.open()
    await trio.testing.wait_all_tasks_blocked()
    return stream, offered[count]


async def test_bytes_pass_both_ways_and_end() -> None:
    async with sessions() as (dialer, _, offered):
        near, far = await opened(dialer, offered)
        sent = bytes(range(256)) * 8192  # eight times the first window
        heard = bytearray()

        async def listen() -> None:
            while data := await far.receive():
                heard.extend(data)
            await far.send(b"done")
            await far.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await near.send(sent)
            await near.send_eof()
            assert await near.receive() == b"done"
            assert await near.receive() == b""
        assert bytes(heard) == sent
        assert near.is_over
        assert far.is_over
        assert dialer._streams == {}


async def test_streams_do_not_hold_each_other_up() -> None:
    async with sessions() as (dialer, _, offered):
        unread, _ = await opened(dialer, offered)
        lively, far = await opened(dialer, offered)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unread.send, bytes(2 * INITIAL_WINDOW))
            await trio.testing.wait_all_tasks_blocked()
            await lively.send(b"still moving")
            assert await far.receive() == b"still moving"
            nursery.cancel_scope.cancel()


async def test_a_cancelled_send_breaks_its_stream_and_no_other() -> None:
    async with sessions() as (dialer, _, offered):
        stuck, far = await opened(dialer, offered)
        with trio.move_on_after(0.05):
            await stuck.send(bytes(2 * INITIAL_WINDOW))
        with pytest.raises(ChannelBroken):
            await stuck.send(b"more")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChannelBroken):
            await far.receive()
        near, other = await opened(dialer, offered)
        await near.send(b"fine")
        assert await other.receive() == b"fine"


async def test_a_reset_wakes_both_sides() -> None:
    async with sessions() as (dialer, _, offered):
        near, far = await opened(dialer, offered)
        async with trio.open_nursery() as nursery:

            async def wait(stream: YamuxStream) -> None:
                with pytest.raises(ChannelBroken):
                    await stream.receive()

            nursery.start_soon(wait, near)
            nursery.start_soon(wait, far)
            await trio.testing.wait_all_tasks_blocked()
            near.reset_now()


async def test_unread_bytes_survive_the_end_but_not_a_reset() -> None:
    async with sessions() as (dialer, _, offered):
        near, far = await opened(dialer, offered)
        await near.send(b"last words")
        await near.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        assert not far.is_fresh
        assert await far.receive(4) == b"last"
        near.reset_now()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ChannelBroken):
            await far.receive()


async def test_the_end_of_the_session_breaks_its_streams() -> None:
    async with sessions() as (dialer, _, offered):
        near, far = await opened(dialer, offered)
        await dialer._channel.aclose()
        for stream in (near, far):
            with trio.fail_after(DEADLINE_S), pytest.raises(ChannelBroken):
                await stream.receive()
        with pytest.raises(ChannelBroken):
            await dialer.open()


async def test_only_so_many_streams_are_opened_at_once() -> None:
    async with sessions() as (dialer, _, _):
        streams = [await dialer.open() for _ in range(MAX_OUTBOUND_STREAMS)]
        with trio.move_on_after(0.05) as waits:
            await dialer.open()
        assert waits.cancelled_caught
        streams[0].reset_now()
        with trio.fail_after(DEADLINE_S):
            await dialer.open()


async def test_a_window_grows_while_the_reader_keeps_up_and_shrinks_back() -> None:
    async with sessions() as (dialer, dialed, offered):
        near, far = await opened(dialer, offered)

        async def write() -> None:
            await near.send(bytes(4_000_000))
            await near.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            while await far.receive(1 << 20):
                pass
        assert far.window > INITIAL_WINDOW
        assert dialed._growth_left < GROWTH_BUDGET
        await far.send_eof()
        assert dialed._growth_left == GROWTH_BUDGET


async def test_the_round_trip_is_measured() -> None:
    async with sessions() as (dialer, dialed, _):
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert dialer.rtt > 0
        assert dialed.rtt > 0


async def test_silence_ends_the_session(autojump_clock: trio.testing.MockClock) -> None:
    async with session_and_wire() as (_, _, _, ended):
        with trio.fail_after(PONG_WITHIN_S + 1):
            await ended.wait()


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(struct.pack("!BBHII", 9, 7, 0xFFFF, 1, 10), id="another version"),
        pytest.param(frame(7, 0, 1, 0), id="an unknown kind"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 0, 0), id="stream zero"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 2, 0), id="a number of ours"),
        pytest.param(frame(WINDOW_UPDATE, SYN, 1, 0) * 2, id="a number twice"),
        pytest.param(frame(DATA, 0, 999, 1 << 25), id="a frame of 32 MiB"),
        pytest.param(frame(GO_AWAY, 0, 0, 0), id="go away"),
        pytest.param(
            frame(WINDOW_UPDATE, SYN, 1, 0) + frame(DATA, 0, 1, INITIAL_WINDOW + 1), id="more than the window"
        ),
    ],
)
async def test_a_broken_rule_ends_the_session(hostile: bytes) -> None:
    async with session_and_wire() as (_, wire, _, ended):
        await wire.send(hostile)
        with trio.fail_after(DEADLINE_S):
            await ended.wait()


@pytest.mark.parametrize(
    "harmless",
    [
        pytest.param(frame(DATA, 0, 999, 3, b"abc"), id="data for no stream"),
        pytest.param(frame(WINDOW_UPDATE, 0, 999, 0xFFFFFFFF), id="credit for no stream"),
        pytest.param(frame(DATA, RST, 999, 0), id="a reset of no stream"),
        pytest.param(frame(PING, ACK, 0, 12345), id="a pong that nobody asked for"),
    ],
)
async def test_frames_for_nobody_are_ignored(harmless: bytes) -> None:
    async with session_and_wire() as (_, wire, offered, ended):
        await wire.send(harmless + frame(DATA, SYN | FIN, 1, 2, b"ok"))
        await trio.testing.wait_all_tasks_blocked()
        (stream,) = offered
        assert await stream.receive() == b"ok"
        assert await stream.receive() == b""
        assert not ended.is_set()


async def test_frames_may_arrive_in_any_pieces() -> None:
    async with session_and_wire() as (_, wire, offered, _):
        for byte in frame(DATA, SYN, 1, 3, b"abc") + frame(DATA, FIN, 1, 2, b"de"):
            await wire.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        (stream,) = offered
        assert await stream.receive() == b"abcde"
        assert await stream.receive() == b""


async def test_streams_beyond_the_limit_are_reset() -> None:
    async with session_and_wire() as (_, wire, offered, ended):
        numbers = range(1, 2 * MAX_INBOUND_STREAMS + 21, 2)
        await wire.send(b"".join(frame(WINDOW_UPDATE, SYN, number, 0) for number in numbers))
        resets = 0
        with trio.fail_after(DEADLINE_S):
            while resets < 10:
                _, kind, flags, number, _ = struct.unpack("!BBHII", await wire.receive_exactly(12))
                resets += kind == WINDOW_UPDATE and flags == RST and number > 2 * MAX_INBOUND_STREAMS
        assert len(offered) == MAX_INBOUND_STREAMS
        assert not ended.is_set()


async def test_data_for_a_stream_we_reset_is_not_kept() -> None:
    async with session_and_wire() as (_, wire, offered, ended):
        await wire.send(frame(DATA, SYN, 1, 4) + b"ab")
        await trio.testing.wait_all_tasks_blocked()
        (stream,) = offered
        stream.reset_now()
        await wire.send(b"cd" + frame(DATA, SYN | FIN, 3, 2, b"ok"))
        await trio.testing.wait_all_tasks_blocked()
        assert not stream._unread
        assert await offered[1].receive() == b"ok"
        assert not ended.is_set()
