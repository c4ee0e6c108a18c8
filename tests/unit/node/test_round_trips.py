"""Round trips over the simulated network: the figure is the network's, and nobody is asked more often than needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from bootstrap.identity import key_of_seed, peer_id_of
from node import wire
from node.round_trips import MEASURE_EVERY_S, TRIES, RoundTrips
from tests.fakes.memory_network import MemoryNetwork, MemoryWorld

NEAR, FAR, ME = b"n" * 32, b"f" * 32, b"m" * 32


@asynccontextmanager
async def a_world(latency: tuple[float, float]) -> AsyncIterator[tuple[MemoryNetwork, MemoryNetwork]]:
    world = MemoryWorld(3, latency=latency)
    introducers = (f"/memory/0/p2p/{peer_id_of(key_of_seed(NEAR))}",)
    async with world.open(NEAR) as there, world.open(ME, introducers=introducers) as here:
        yield here, there


def trips(network: MemoryNetwork, learned: dict[bytes, int], providers: tuple[bytes, ...] = ()) -> RoundTrips:
    return RoundTrips(network, providers=lambda: providers, learned=learned.__setitem__)


async def test_the_figure_is_that_of_the_network(autojump_clock: MockClock):
    learned: dict[bytes, int] = {}
    async with a_world((0.010, 0.010)) as (here, there):
        trips(there, {}).register()
        mine = trips(here, learned)
        await trio.sleep(2)
        await mine.measure([there.key])
    assert 20_000 <= learned[there.key] <= 21_000


async def test_nobody_is_measured_again_before_its_time(autojump_clock: MockClock):
    asked = 0

    async def count(peer: bytes, request: bytes) -> bytes:
        nonlocal asked
        asked += 1
        return request

    async with a_world((0.001, 0.002)) as (here, there):
        there.serve(wire.PROTOCOL_ECHO, count, max_request=8)
        mine = trips(here, {})
        await trio.sleep(2)
        for _ in range(5):
            await mine.measure([there.key, here.key])
        assert asked == TRIES
        await trio.sleep(MEASURE_EVERY_S)
        await mine.measure([there.key])
    assert asked == 2 * TRIES


async def test_who_cannot_be_reached_has_no_figure(autojump_clock: MockClock):
    learned: dict[bytes, int] = {}
    async with a_world((0.001, 0.002)) as (here, _):
        await trips(here, learned).measure([key_of_seed(FAR)])
    assert learned == {}


async def test_a_peer_that_echoes_something_else_is_not_believed(autojump_clock: MockClock):
    learned: dict[bytes, int] = {}

    async def lie(peer: bytes, request: bytes) -> bytes:
        return b"x" * 8

    async with a_world((0.001, 0.002)) as (here, there):
        there.serve(wire.PROTOCOL_ECHO, lie, max_request=8)
        await trio.sleep(2)
        await trips(here, learned).measure([there.key])
    assert learned == {}


async def test_only_so_many_are_measured_at_a_time(autojump_clock: MockClock):
    learned: dict[bytes, int] = {}
    async with a_world((0.001, 0.002)) as (here, there):
        trips(there, {}).register()
        mine = trips(here, learned, (there.key,))
        await trio.sleep(2)
        await mine.measure([there.key], most=0)
        assert learned == {}
        with trio.move_on_after(5):
            await mine.measure_forever()
    assert set(learned) == {there.key}
