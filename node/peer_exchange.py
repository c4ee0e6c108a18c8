"""How nodes find each other: whoever is connected to a peer may ask it for more. Works over any Network.

Nothing that is heard is believed: an address is only a place to look, and who answers there must prove its key.
"""

from __future__ import annotations

import random
from typing import Any

import trio

from bootstrap.containment import contained
from bootstrap.introducer import MAX_ADDRESSES, MAX_INTRODUCED, KnownPeer, choose_peers, reachable_from
from market import codec
from market.errors import PeerFault
from node.peer_budgets import PEERS_RATE, PeerBudgets
from node.ports import Network, PeerUnreachable
from node.wire import PROTOCOL_PEERS

FIRST_WAIT_S, LAST_WAIT_S = 0.5, 30.0
"""Between two rounds of asking: short when somebody joined or left, then longer each time nothing did."""
_ASK_AT_ONCE = 3
_ANSWER_S = 5.0
_MAX_ANSWER = 64 * 1024
_MAX_ADDRESS = 256


class PeerExchange:
    """Answers and asks for peers on behalf of one node.

    Args:
        network: the node's network.
        luck: chooses whom to ask and whom to name.
    """

    def __init__(self, network: Network, luck: random.Random | None = None) -> None:
        self._network = network
        self._luck = luck or random.Random()
        self._budgets = PeerBudgets()

    def register(self) -> None:
        """Answer peers that ask, from now on."""
        self._network.serve(PROTOCOL_PEERS, self._answer, max_request=0)

    async def exchange_forever(self) -> None:
        """Keep asking peers for more peers, until cancelled."""
        wait, before = FIRST_WAIT_S, frozenset[bytes]()
        while True:
            connected = frozenset(info.key for info in self._network.peers())
            wait = FIRST_WAIT_S if connected != before else min(2 * wait, LAST_WAIT_S)
            await contained(self._ask_some, sorted(connected - before), sorted(connected & before))
            before = connected
            await trio.sleep(wait)

    async def _ask_some(self, new: list[bytes], old: list[bytes]) -> None:
        chosen = new[:_ASK_AT_ONCE]
        chosen += self._luck.sample(old, min(len(old), _ASK_AT_ONCE - len(chosen)))
        async with trio.open_nursery() as nursery:
            for peer in chosen:
                nursery.start_soon(contained, self._ask, peer)

    async def _ask(self, peer: bytes) -> None:
        try:
            answer = await self._network.request(peer, PROTOCOL_PEERS, b"", timeout=_ANSWER_S, max_response=_MAX_ANSWER)
            heard = parse_peers(answer)
        except PeerUnreachable:
            return
        except PeerFault as fault:
            self._network.penalise(peer, fault.code)
            return
        for key, addresses in heard:
            self._network.learn(key, reachable_from(self._network.addresses(), addresses))

    async def _answer(self, peer: bytes, request: bytes) -> bytes:
        """Name peers. One that asks more often than any node of ours does is named nobody."""
        if not self._budgets.allow(peer, PEERS_RATE, trio.current_time()):
            return pack_peers([])
        known: list[KnownPeer] = [(info.key, info.addresses) for info in self._network.peers()]
        return pack_peers(choose_peers(known, peer, self._luck))


def pack_peers(peers: list[KnownPeer]) -> bytes:
    """Encode an answer: a canonical list of ``[key, [address, …]]``."""
    return codec.pack([[key, list(addresses)] for key, addresses in peers])


def parse_peers(answer: bytes) -> list[KnownPeer]:
    """Decode an answer.

    Raises:
        PeerFault: it is no such list, or longer than an answer may be.
    """
    listed = codec.unpack(answer, limit=_MAX_ANSWER)
    if not isinstance(listed, list) or len(listed) > MAX_INTRODUCED or not all(map(_is_known_peer, listed)):
        raise PeerFault("not a list of peers", code="bad_peers")
    return [(key, tuple(addresses)) for key, addresses in listed]


def _is_known_peer(entry: Any) -> bool:
    if not (isinstance(entry, list) and len(entry) == 2):
        return False
    key, addresses = entry
    is_key = isinstance(key, bytes) and len(key) == 32
    is_list = isinstance(addresses, list) and len(addresses) <= MAX_ADDRESSES
    return is_key and is_list and all(isinstance(text, str) and len(text) <= _MAX_ADDRESS for text in addresses)
