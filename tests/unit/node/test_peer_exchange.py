"""Telling and asking about peers."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from bootstrap.introducer import MAX_INTRODUCED
from market import codec
from market.errors import PeerFault
from node.peer_budgets import PEERS_RATE
from node.peer_exchange import FIRST_WAIT_S, PeerExchange, pack_peers, parse_peers
from node.ports import PeerInfo
from node.wire import PROTOCOL_PEERS
from tests.fakes.desks import RecordingNetwork
from tests.fakes.memory_network import MemoryNetwork, MemoryWorld

KEY = b"k" * 32


def test_what_is_packed_is_parsed() -> None:
    peers = [(KEY, ("/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1")), (b"j" * 32, ())]
    assert parse_peers(pack_peers(peers)) == peers


@pytest.mark.parametrize(
    "listed",
    [
        None,
        {},
        [KEY],
        [[KEY]],
        [[KEY[1:], []]],
        [[KEY, "/ip4/10.0.0.1/tcp/1"]],
        [[KEY, [b"/ip4/10.0.0.1/tcp/1"]]],
        [[KEY, ["x" * 257]]],
        [[KEY, ["x"] * 9]],
        [[KEY, []]] * (MAX_INTRODUCED + 1),
    ],
)
def test_other_answers_are_a_fault(listed: Any) -> None:
    with pytest.raises(PeerFault):
        parse_peers(codec.pack(listed))


@pytest.mark.parametrize("raw", [b"", b"\xff", b"\xc1", b"\x90\x90", b"\xdd\xff\xff\xff\xff"])
def test_bytes_that_are_no_list_are_a_fault(raw: bytes) -> None:
    with pytest.raises(PeerFault):
        parse_peers(raw)


async def test_newcomers_find_each_other_through_one_introducer(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(7)
    async with world.open(b"i" * 32) as hub:
        first = hub.addresses()
        async with (
            world.open(b"a" * 32, introducers=first) as one,
            world.open(b"b" * 32, introducers=first) as two,
            trio.open_nursery() as nursery,
        ):
            for node in (hub, one, two):
                exchange = PeerExchange(node)
                exchange.register()
                nursery.start_soon(exchange.exchange_forever)
            await trio.sleep(5)
            assert all(connected(node) == 2 for node in (hub, one, two))
            nursery.cancel_scope.cancel()


async def test_a_peer_that_answers_nonsense_is_penalised(autojump_clock: trio.testing.MockClock) -> None:
    world = MemoryWorld(7)
    async with world.open(b"i" * 32) as hub, world.open(b"a" * 32, introducers=hub.addresses()) as node:

        async def nonsense(peer: bytes, request: bytes) -> bytes:
            return b"\xff"

        hub.serve(PROTOCOL_PEERS, nonsense, max_request=0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(PeerExchange(node).exchange_forever)
            with trio.fail_after(3600):
                while not node.refuses(hub.key):
                    await trio.sleep(1)
            assert connected(node) == 0
            nursery.cancel_scope.cancel()


async def test_whoever_asks_too_often_is_named_nobody(autojump_clock: trio.testing.MockClock) -> None:
    network = RecordingNetwork()
    network.known = [PeerInfo(key=KEY, peer_id="x", addresses=("/ip4/10.0.0.1/tcp/1",), rtt_us=1)]
    PeerExchange(network).register()  # type: ignore[arg-type]
    named = [len(await network.ask(b"a" * 32, PROTOCOL_PEERS, b"")) for _ in range(200)]
    assert sum(named) == PEERS_RATE.burst
    for _ in range(60):  # an honest node's pace
        assert len(await network.ask(b"b" * 32, PROTOCOL_PEERS, b"")) == 1
        await trio.sleep(FIRST_WAIT_S)


def connected(node: MemoryNetwork) -> int:
    return len(node.peers())
