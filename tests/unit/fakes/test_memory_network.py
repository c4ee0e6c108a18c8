"""The simulated network's own promises: one seed, one story; and faults that do what they say."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from node.ports import PeerUnreachable, Verdict
from node.wire import TOPIC_OFFERS
from tests.fakes.memory_network import MemoryNetwork, MemoryWorld

ECHO = "/test/echo/1"
A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


async def echo(peer: bytes, request: bytes) -> bytes:
    return request


def test_the_same_seed_tells_the_same_story() -> None:
    stories = [trio.run(story, 5, clock=trio.testing.MockClock(autojump_threshold=0)) for _ in range(3)]
    assert stories[0] == stories[1] == stories[2]
    assert stories[0] != trio.run(story, 6, clock=trio.testing.MockClock(autojump_threshold=0))


async def story(seed: int) -> list[tuple[float, bytes]]:
    told: list[tuple[float, bytes]] = []
    world = MemoryWorld(seed, loss=0.3, duplicate=0.3)
    async with world.open(A) as hub, world.open(B, introducers=hub.addresses()) as node:

        async def serve(peer: bytes, request: bytes) -> bytes:
            told.append((trio.current_time(), request))
            return request

        hub.serve(ECHO, serve, max_request=100)
        hub.subscribe(
            TOPIC_OFFERS, lambda *_: Verdict.ACCEPT, lambda _, heard: told.append((trio.current_time(), heard))
        )
        for number in range(30):
            await node.publish(TOPIC_OFFERS, b"gossip %d" % number)
            try:
                await node.request(hub.key, ECHO, b"request %d" % number, timeout=1.0)
            except PeerUnreachable:
                told.append((trio.current_time(), b"unanswered"))
    return told


async def test_total_loss_is_a_time_out(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(1)
    async with world.open(A) as hub, world.open(B, introducers=hub.addresses()) as node:
        hub.serve(ECHO, echo, max_request=100)
        assert await node.request(hub.key, ECHO, b"x", timeout=5.0) == b"x"
        world.loss = 1.0
        before = trio.current_time()
        with pytest.raises(PeerUnreachable):
            await node.request(hub.key, ECHO, b"x", timeout=5.0)
        assert trio.current_time() - before == pytest.approx(5.0)


async def test_a_duplicated_request_runs_its_handler_twice(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(1, duplicate=1.0)
    async with world.open(A) as hub, world.open(B, introducers=hub.addresses()) as node:
        runs: list[bytes] = []

        async def count(peer: bytes, request: bytes) -> bytes:
            runs.append(request)
            return request

        hub.serve(ECHO, count, max_request=100)
        await node.request(hub.key, ECHO, b"x", timeout=5.0)
        await trio.sleep(1)
        assert runs == [b"x", b"x"]


async def test_a_partition_cuts_and_heals(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(1)
    async with world.open(A) as hub, world.open(B, introducers=hub.addresses()) as node:
        hub.serve(ECHO, echo, max_request=100)
        await node.request(hub.key, ECHO, b"x", timeout=5.0)
        world.partition((hub.key,), (node.key,))
        assert node.peers() == hub.peers() == []
        with pytest.raises(PeerUnreachable):
            await node.request(hub.key, ECHO, b"x", timeout=5.0)
        world.heal()
        await trio.sleep(10)
        assert [info.key for info in node.peers()] == [hub.key]
        assert await node.request(hub.key, ECHO, b"x", timeout=5.0) == b"x"


async def test_a_crash_cancels_the_node_and_it_may_come_back(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(1)
    lived: list[str] = []

    async def life(hub: MemoryNetwork) -> None:
        async with world.open(B, introducers=hub.addresses()) as node:
            node.serve(ECHO, echo, max_request=100)
            await trio.sleep_forever()
        lived.append("ended")

    async with world.open(A) as hub, trio.open_nursery() as nursery:
        nursery.start_soon(life, hub)
        await trio.sleep(2)
        (info,) = hub.peers()
        assert await hub.request(info.key, ECHO, b"x", timeout=5.0) == b"x"
        world.crash(info.key)
        assert hub.peers() == []
        with pytest.raises(PeerUnreachable):
            await hub.request(info.key, ECHO, b"x", timeout=5.0)
        assert lived == ["ended"]
        nursery.start_soon(life, hub)
        await trio.sleep(5)
        assert await hub.request(info.key, ECHO, b"x", timeout=5.0) == b"x"
        nursery.cancel_scope.cancel()


async def test_a_crash_breaks_streams_and_waiting_requests(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(1)
    async with world.open(A) as hub, trio.open_nursery() as nursery:

        async def life() -> None:
            async with world.open(B, introducers=hub.addresses()) as node:
                node.serve(ECHO, never, max_request=100)
                node.serve_stream("/test/hold/1", hold)
                await trio.sleep_forever()

        async def never(peer: bytes, request: bytes) -> bytes:
            await trio.sleep_forever()
            return b""

        async def hold(stream: object) -> None:
            await trio.sleep_forever()

        nursery.start_soon(life)
        await trio.sleep(2)
        (info,) = hub.peers()
        stream = await hub.open_stream(info.key, "/test/hold/1")
        failed_at: list[float] = []

        async def ask() -> None:
            with pytest.raises(PeerUnreachable):
                await hub.request(info.key, ECHO, b"x", timeout=3600.0)
            failed_at.append(trio.current_time())

        nursery.start_soon(ask)
        await trio.sleep(10)
        world.crash(info.key)
        await trio.sleep(1)
        assert failed_at
        with pytest.raises(PeerUnreachable):
            await stream.receive()
        nursery.cancel_scope.cancel()
