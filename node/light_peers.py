"""Finds peers worth asking for somebody who stays a minute: introducers, and whom they name."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import trio

from bootstrap.identity import key_of_peer_id
from bootstrap.introducer import reachable_from
from bootstrap.peer_address import parse_address
from market.errors import InvalidRequest, PeerFault
from node import wire
from node.peer_exchange import parse_peers
from node.ports import Network, PeerUnreachable

MAX_ASKED = 5
"""Peers that are asked. Two suffice to notice a lie; of five, two may lie together."""
MAX_TRIED = 3 * MAX_ASKED
MAX_FOUND = 256
_ANSWER_S = 5.0
_MAX_ANSWER = 64 * 1024


class LightPeers:
    """The peers one look at the market can ask.

    Args:
        first: addresses of the peers to begin with, each ending in ``/p2p/<peer id>``.
        luck: chooses among the peers found.
    """

    def __init__(self, network: Network, first: Iterable[str], luck: random.Random) -> None:
        self._network = network
        self._first = {key_of_peer_id(text.rpartition("/p2p/")[2]): text for text in first}
        self._luck = luck
        self._found: dict[bytes, tuple[str, ...]] = {}

    async def ask_several(self, ask: Callable[[bytes], Awaitable[None]]) -> dict[bytes, bool]:
        """Ask up to :data:`MAX_ASKED` peers at once, of different networks where there are such.

        Args:
            ask: asks one peer; when it raises ``PeerUnreachable`` the next one is asked in its place.

        Returns:
            Whom we asked, and whether it answered.
        """
        waiting = iter((await self._meet())[:MAX_TRIED])
        answered: dict[bytes, bool] = {}

        async def keep_asking() -> None:
            for peer in waiting:
                answered[peer] = False
                try:
                    await ask(peer)
                except PeerUnreachable:
                    continue
                answered[peer] = True
                return

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_ASKED):
                nursery.start_soon(keep_asking)
        return answered

    def first(self) -> str:
        """Who was to be asked first, as it was named; of several, how many more."""
        addresses = list(self._first.values())
        return (addresses[0] if addresses else "nobody was named") + (
            f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        )

    def addresses(self, peer: bytes) -> tuple[str, ...]:
        """Where a peer was said to be."""
        return self._found.get(peer, ())

    async def _meet(self) -> list[bytes]:
        if not self._found:
            for peer, address in self._first.items():
                self._found[peer] = (address,)
                self._network.learn(peer, (address,))
            await self._ask_for_more(list(self._first))
            if len(self._found) < MAX_TRIED:
                named = [peer for peer in self._found if peer not in self._first]
                await self._ask_for_more(self._luck.sample(named, min(len(named), 2)))
        return self._in_turn()

    async def _ask_for_more(self, peers: list[bytes]) -> None:
        async with trio.open_nursery() as nursery:
            for peer in peers[:MAX_ASKED]:
                nursery.start_soon(self._ask_one_for_more, peer)

    async def _ask_one_for_more(self, peer: bytes) -> None:
        try:
            answer = await self._network.request(
                peer, wire.PROTOCOL_PEERS, b"", timeout=_ANSWER_S, max_response=_MAX_ANSWER
            )
            heard = parse_peers(answer)
        except (PeerUnreachable, PeerFault):
            return
        for key, addresses in heard:
            # Hearsay must not make us knock at our own neighbours' doors: seen from where that peer is.
            near = reachable_from(self._found[peer], addresses)
            if near and key != self._network.key and key not in self._found and len(self._found) < MAX_FOUND:
                self._found[key] = near
                self._network.learn(key, near)

    def _in_turn(self) -> list[bytes]:
        """All peers found: an introducer first, then the rest by chance, but such that networks take turns."""
        first = self._luck.sample(list(self._first), len(self._first))
        rest = [peer for peer in self._found if peer not in self._first]
        self._luck.shuffle(rest)
        turns: Counter[str] = Counter()
        order: list[tuple[int, bytes]] = []
        for peer in first[:1] + rest + first[1:]:
            prefix = _network_of(self._found[peer])
            turns[prefix] += 1
            order.append((turns[prefix], peer))
        return [peer for _, peer in sorted(order, key=lambda one: one[0])]


def _network_of(addresses: tuple[str, ...]) -> str:
    """What one owner is likely to have all of: a /16 of IPv4, a /32 of IPv6, a name."""
    text = addresses[0]
    try:
        address = parse_address(text)
        bits = 16 if address.kind == "ip4" else 32
        return (
            address.host
            if address.kind.startswith("dns")
            else str(ipaddress.ip_network(f"{address.host}/{bits}", strict=False))
        )
    except InvalidRequest:
        return text
