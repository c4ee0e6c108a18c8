"""Who is dialed when, over connections that only pretend."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from bootstrap.address_book import AddressBook
from bootstrap.channel import ChannelBroken
from bootstrap.libp2p_dialer import ENOUGH_PEERS, Dialer
from bootstrap.peer_address import PeerAddress


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def address(peer: bytes, port: int = 1) -> PeerAddress:
    return PeerAddress("ip4", "10.0.0.1", port, peer)


class PretendedConnections:
    """Every dial takes a second and works, unless its port is in ``dead`` or hangs in ``silent``."""

    def __init__(self) -> None:
        self.connected: dict[bytes, PeerAddress] = {}
        self.dialed: list[PeerAddress] = []
        self.dead: set[int] = set()
        self.silent: set[int] = set()
        self.at_once = self.most_at_once = 0
        self.is_refused: Callable[[bytes], bool] = lambda peer: False

    def peers(self) -> list[bytes]:
        return list(self.connected)

    def is_connected(self, peer: bytes) -> bool:
        return peer in self.connected

    async def dial(self, address: PeerAddress) -> None:
        self.dialed.append(address)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await trio.sleep_forever() if address.port in self.silent else await trio.sleep(1)
        finally:
            self.at_once -= 1
        if address.port in self.dead:
            raise ChannelBroken("refused")
        assert address.key is not None
        self.connected[address.key] = address


@pytest.fixture
def connections() -> PretendedConnections:
    return PretendedConnections()


@pytest.fixture
def dialer(connections: PretendedConnections) -> Dialer:
    pretended: Any = connections
    return Dialer(pretended, AddressBook(b"o" * 32, random.Random(1)))


async def run_for(dialer: Dialer, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await dialer.run()


async def test_all_addresses_are_tried_at_the_same_time(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    connections.dead, connections.silent = {1}, {2}
    dialer.learn(key(1), tuple(address(key(1), port) for port in (1, 2, 3)))
    await dialer.connect(key(1))
    assert connections.connected == {key(1): address(key(1), 3)}
    assert trio.current_time() == pytest.approx(1.0, abs=0.1)


async def test_nobody_there(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    connections.silent = {1}
    dialer.learn(key(1), (address(key(1)),))
    with trio.fail_after(6), pytest.raises(ChannelBroken):
        await dialer.connect(key(1))
    with pytest.raises(ChannelBroken):
        await dialer.connect(key(2))


async def test_two_who_want_the_same_peer_share_one_dial(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    dialer.learn(key(1), (address(key(1)),))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.connect, key(1))
        nursery.start_soon(dialer.connect, key(1))
    assert len(connections.dialed) == 1


async def test_it_seeks_enough_peers_and_no_more(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    for number in range(1, 4 * ENOUGH_PEERS):
        dialer.learn(key(number), (address(key(number)),))
    await run_for(dialer, 60)
    assert len(connections.connected) == ENOUGH_PEERS
    assert connections.most_at_once <= ENOUGH_PEERS


async def test_introducers_are_dialed_for_ever_even_when_there_are_enough(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    connections.dead = {9}
    dialer.learn(key(0), (address(key(0), 9),), keep=True)
    for number in range(1, ENOUGH_PEERS + 1):
        connections.connected[key(number)] = address(key(number))
    await run_for(dialer, 3600)
    tries = [tried for tried in connections.dialed if tried.key == key(0)]
    assert 3600 / 62 <= len(tries) <= 3600 / 25
    connections.dead.clear()
    await run_for(dialer, 62)
    assert key(0) in connections.connected


async def test_a_lost_peer_is_found_again_within_seconds(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    dialer.learn(key(1), (address(key(1)),))
    await run_for(dialer, 5)
    connections.connected.clear()
    await run_for(dialer, 5)
    assert key(1) in connections.connected


async def test_banned_peers_are_not_dialed(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    connections.is_refused = lambda peer: peer == key(1)
    dialer.learn(key(1), (address(key(1)),))
    dialer.learn(key(2), (address(key(2)),))
    await run_for(dialer, 10)
    assert [tried.key for tried in connections.dialed] == [key(2)]


async def test_thousands_of_dead_peers_cost_a_bounded_number_of_tasks(
    connections: PretendedConnections, dialer: Dialer, autojump_clock: trio.testing.MockClock
) -> None:
    connections.silent = {1}
    for number in range(1, 1000):
        dialer.learn(key(number), (address(key(number)),))
    await run_for(dialer, 120)
    assert 0 < connections.most_at_once <= 8
