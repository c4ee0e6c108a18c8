"""Framing and reuse of request streams, over streams that only pretend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from bootstrap.channel import Buffered, ChannelBroken, SocketChannel
from market.errors import PeerFault, Unavailable
from node.libp2p_requests import AT_ONCE_PER_PEER, IDLE_S, RequestServer, RequestStreams

PEER, PROTOCOL = b"p" * 32, "/test/1"


class PretendedStream(Buffered):
    """One end of a memory stream that knows how it ended."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        super().__init__(SocketChannel(stream))
        self.peer = PEER
        self.is_reset = False

    @property
    def is_fresh(self) -> bool:
        return not self.is_reset

    async def reset(self) -> None:
        self.is_reset = True
        with trio.CancelScope(shield=True):
            await super().aclose()


class Pair:
    """An asking and an answering side; each new stream is served in the background."""

    def __init__(self, nursery: trio.Nursery, answer: Callable[[bytes, bytes], Awaitable[bytes]]) -> None:
        self.opened: list[PretendedStream] = []
        self.ended: list[BaseException | None] = []
        self.faults: list[str] = []
        self.server = RequestServer(allow=lambda peer: True, on_fault=lambda peer, reason: self.faults.append(reason))
        self._nursery = nursery
        self._serve: Any = self.server.handler(answer, max_request=100)
        open_stream: Any = self._open
        self.streams = RequestStreams(open_stream)

    async def _open(self, peer: bytes, protocol: str) -> PretendedStream:
        near, far = trio.testing.memory_stream_pair()
        self.opened.append(PretendedStream(near))
        self._nursery.start_soon(self._run, PretendedStream(far))
        return self.opened[-1]

    async def _run(self, stream: PretendedStream) -> None:
        try:
            await self._serve(stream)
            self.ended.append(None)
        except (ChannelBroken, trio.TooSlowError) as error:
            self.ended.append(error)
        await stream.reset()

    async def ask(self, request: bytes, max_response: int = 1000) -> bytes:
        return await self.streams.exchange(PEER, PROTOCOL, request, max_response=max_response)


async def echo(peer: bytes, request: bytes) -> bytes:
    return request


async def test_one_stream_serves_request_after_request(nursery: trio.Nursery) -> None:
    pair = Pair(nursery, echo)
    for size in (0, 1, 100):
        assert await pair.ask(bytes(size)) == bytes(size)
    assert len(pair.opened) == 1


async def test_requests_at_the_same_time_have_streams_of_their_own(nursery: trio.Nursery) -> None:
    release = trio.Event()

    async def wait(peer: bytes, request: bytes) -> bytes:
        await release.wait()
        return request

    pair = Pair(nursery, wait)
    answers: list[bytes] = []

    async def ask(request: bytes) -> None:
        answers.append(await pair.ask(request))

    async with trio.open_nursery() as asking:
        for number in range(10):
            asking.start_soon(ask, b"%d" % number)
        await trio.testing.wait_all_tasks_blocked()
        release.set()
    assert sorted(answers) == [b"%d" % number for number in range(10)]
    assert len(pair.opened) == 10
    assert sum(stream.is_fresh for stream in pair.opened) == 4


async def test_a_cancelled_exchange_resets_its_stream(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    async def never(peer: bytes, request: bytes) -> bytes:
        await trio.sleep_forever()
        return b""

    pair = Pair(nursery, never)
    with trio.move_on_after(1):
        await pair.ask(b"x")
    assert pair.opened[0].is_reset


@pytest.mark.parametrize("error", [PeerFault("rule", code="rule"), Unavailable("world")])
async def test_a_handler_that_refuses_resets_the_stream(nursery: trio.Nursery, error: Exception) -> None:
    async def refuse(peer: bytes, request: bytes) -> bytes:
        raise error

    pair = Pair(nursery, refuse)
    with pytest.raises(ChannelBroken):
        await pair.ask(b"x")
    assert pair.faults == (["rule"] if isinstance(error, PeerFault) else [])


async def test_an_oversized_request_is_a_fault_and_is_not_read(nursery: trio.Nursery) -> None:
    pair = Pair(nursery, echo)
    with pytest.raises(ChannelBroken):
        await pair.ask(bytes(101))
    assert pair.faults == ["oversized request"]


async def test_an_oversized_answer_is_not_read(nursery: trio.Nursery) -> None:
    pair = Pair(nursery, echo)
    with pytest.raises(ChannelBroken):
        await pair.ask(bytes(50), max_response=49)
    assert pair.opened[0].is_reset
    assert await pair.ask(bytes(49), max_response=49) == bytes(49)


async def test_only_so_many_requests_of_a_peer_are_in_work(nursery: trio.Nursery) -> None:
    working = most = 0
    release = trio.Event()

    async def work(peer: bytes, request: bytes) -> bytes:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await release.wait()
        working -= 1
        return request

    pair = Pair(nursery, work)
    async with trio.open_nursery() as asking:
        for _ in range(2 * AT_ONCE_PER_PEER):
            asking.start_soon(pair.ask, b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert most == AT_ONCE_PER_PEER
        release.set()
    assert working == 0


async def test_an_unused_stream_is_ended(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    pair = Pair(nursery, echo)
    await pair.ask(b"x")
    await trio.sleep(IDLE_S + 1)
    assert len(pair.ended) == 1


async def test_a_fast_peer_waits(nursery: trio.Nursery, autojump_clock: trio.testing.MockClock) -> None:
    pair = Pair(nursery, echo)
    pair.server._allow = lambda peer: trio.current_time() >= 3
    assert await pair.ask(b"x") == b"x"
    assert trio.current_time() >= 3


async def test_streams_of_a_gone_peer_are_forgotten(nursery: trio.Nursery) -> None:
    pair = Pair(nursery, echo)
    await pair.ask(b"x")
    pair.streams.forget(PEER)
    await pair.ask(b"x")
    assert len(pair.opened) == 2
