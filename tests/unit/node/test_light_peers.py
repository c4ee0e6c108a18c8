"""Whom a light client asks: introducers, those they name, different networks first, others in place of the silent."""

from __future__ import annotations

import random
from typing import Any

import pytest
from trio.testing import MockClock

from bootstrap.identity import peer_id_of
from node import wire
from node.light_peers import MAX_ASKED, MAX_FOUND, LightPeers
from node.peer_exchange import pack_peers
from node.ports import PeerUnreachable
from tests.fakes.desks import RecordingNetwork
from tests.fakes.samples import BUYER, a_signer


def key(name: object) -> bytes:
    return a_signer(str(name)).key


def address(name: object, host: str = "203.0.113.7") -> str:
    return f"/ip4/{host}/tcp/4001/p2p/{peer_id_of(key(name))}"


class Crowd:
    """Peers that name others, some of them silent."""

    def __init__(self, first: tuple[str, ...], named: dict[str, list[tuple[str, str]]], silent: str = "") -> None:
        self.network = RecordingNetwork(BUYER.key)
        self.network.answer = self._answer
        self.named = {
            key(name): [(key(one), (address(one, host),)) for one, host in found] for name, found in named.items()
        }
        self.silent = {key(name) for name in silent}
        self.peers = LightPeers(self.network, first, random.Random(1))
        self.asked: list[bytes] = []

    def _answer(self, peer: bytes, protocol: str, _request: bytes) -> bytes:
        assert protocol == wire.PROTOCOL_PEERS
        if peer in self.silent or peer not in self.named:
            raise PeerUnreachable("silent")
        return pack_peers(self.named[peer])

    async def ask(self) -> dict[bytes, bool]:
        async def ask(peer: bytes) -> None:
            self.asked.append(peer)
            if peer in self.silent:
                raise PeerUnreachable("silent")

        return await self.peers.ask_several(ask)


async def test_peers_that_an_introducer_names_are_asked_too(autojump_clock: MockClock) -> None:
    crowd = Crowd((address("i"),), {"i": [("a", "198.51.100.1"), ("b", "192.0.2.1")]})
    assert await crowd.ask() == {key(name): True for name in "iab"}
    assert crowd.asked[0] == key("i")
    assert crowd.peers.addresses(key("a")) == (address("a", "198.51.100.1"),)
    assert crowd.peers.addresses(key("z")) == ()


async def test_those_who_are_named_name_others(autojump_clock: MockClock) -> None:
    crowd = Crowd((address("i"),), {"i": [("a", "198.51.100.1")], "a": [("b", "192.0.2.1")]})
    assert set(await crowd.ask()) == {key("i"), key("a"), key("b")}


async def test_no_more_are_asked_than_needed_and_networks_take_turns(autojump_clock: MockClock) -> None:
    crowded = [(f"c{number}", f"198.51.100.{number}") for number in range(1, 9)]
    others = [("x", "192.0.2.1"), ("y", "100.20.0.1"), ("z", "100.30.0.1")]
    crowd = Crowd((address("i"),), {"i": crowded + others})
    answered = await crowd.ask()
    assert len(answered) == MAX_ASKED
    assert {key(name) for name in "ixyz"} <= set(answered)


async def test_the_silent_are_replaced(autojump_clock: MockClock) -> None:
    named = [(f"{name}", f"100.{number}.0.1") for number, name in enumerate("abcdefgh", 10)]
    crowd = Crowd((address("i"),), {"i": named}, silent="abc")
    answered = await crowd.ask()
    assert sum(answered.values()) == MAX_ASKED
    assert {peer for peer, did in answered.items() if not did} <= {key(name) for name in "abc"}


async def test_nobody_answers(autojump_clock: MockClock) -> None:
    crowd = Crowd((address("i"), address("j")), {}, silent="ij")
    assert await crowd.ask() == {key("i"): False, key("j"): False}


async def test_hearsay_never_leads_to_our_own_neighbours(autojump_clock: MockClock) -> None:
    heard = [("home", "192.168.1.1"), ("self", "127.0.0.1"), ("far", "11.1.1.1")]
    crowd = Crowd((address("i", "12.1.1.1"),), {"i": heard})
    assert set(await crowd.ask()) == {key("i"), key("far")}
    near = Crowd((address("i", "127.0.0.1"),), {"i": heard})
    assert set(await near.ask()) == {key("i"), key("home"), key("self"), key("far")}


async def test_we_are_not_asked_ourselves_and_memory_is_bounded(autojump_clock: MockClock) -> None:
    crowd = Crowd((address("i"),), {"i": []})
    crowd.named[key("i")] = [
        (BUYER.key, (address("me"),)),
        *((key(n), (address(n, "198.51.100.1"),)) for n in range(31)),
    ]
    for number in range(31):
        crowd.named[key(number)] = [
            (key((number, other)), (address((number, other), "198.51.100.1"),)) for other in range(32)
        ]
    await crowd.ask()
    assert BUYER.key not in crowd.asked
    assert len(crowd.network.learned) <= MAX_FOUND


@pytest.mark.parametrize("garbage", [b"", b"\xc1", b"\x93\x01\x02\x03"])
async def test_an_introducer_that_babbles_is_still_asked(autojump_clock: MockClock, garbage: bytes) -> None:
    crowd = Crowd((address("i"),), {})

    def babble(*_asked: Any) -> bytes:
        return garbage

    crowd.network.answer = babble
    assert await crowd.ask() == {key("i"): True}


def test_those_to_be_asked_first_are_named_as_they_were_given() -> None:
    assert Crowd((address("i"),), {}).peers.first() == address("i")
    assert Crowd((address("i"), address("j")), {}).peers.first() == f"{address('i')} and 1 more"
    assert Crowd((), {}).peers.first() == "nobody was named"
