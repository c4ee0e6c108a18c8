"""Keeps the node connected: dials introducers for ever, and others until there are enough.

Connections are made here and nowhere else, so that two tasks that want the same peer share one attempt. Strangers
say where to dial: whatever an attempt raises, it costs no more than the attempt.
"""

from __future__ import annotations

import trio

from bootstrap.address_book import AddressBook
from bootstrap.channel import ChannelBroken
from bootstrap.containment import contained
from bootstrap.libp2p_streams import PeerConnections
from bootstrap.peer_address import PeerAddress

ENOUGH_PEERS = 16
"""Connections we seek ourselves; more may come from others."""
_DIAL_S = 5.0
_DIALS_AT_ONCE = 8
_LOOK_AGAIN_S = 1.0


class Dialer:
    """Dials from an address book."""

    def __init__(self, connections: PeerConnections, book: AddressBook) -> None:
        self._connections, self._book = connections, book
        self._dialing: dict[bytes, trio.Event] = {}
        self._news = trio.Event()
        self._trying: set[bytes] = set()

    def learn(self, peer: bytes, addresses: tuple[PeerAddress, ...], *, keep: bool = False) -> None:
        """Add addresses of a peer; it is dialed soon if we want more peers."""
        if self._book.learn(peer, addresses, keep=keep):
            self._news.set()

    async def connect(self, peer: bytes) -> None:
        """Make sure that we are connected to a peer: try all its known addresses at the same time.

        Raises:
            ChannelBroken: none of them led to it within five seconds.
        """
        while not self._connections.is_connected(peer):
            if (other := self._dialing.get(peer)) is not None:
                await other.wait()
                if not self._connections.is_connected(peer):
                    raise ChannelBroken("that peer cannot be reached")
                return
            self._dialing[peer] = trio.Event()
            try:
                await self._race(peer)
            finally:
                self._dialing.pop(peer).set()
            self._book.tried(peer, worked=self._connections.is_connected(peer), now=trio.current_time())
            if not self._connections.is_connected(peer):
                raise ChannelBroken("that peer cannot be reached")

    async def run(self) -> None:
        """Keep looking for peers, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._news = trio.Event()
                for peer in self._wanted():
                    self._trying.add(peer)
                    nursery.start_soon(contained, self._try, peer)
                with trio.move_on_after(_LOOK_AGAIN_S):
                    await self._news.wait()

    def _wanted(self) -> list[bytes]:
        busy = {*self._connections.peers(), *self._trying}
        ready = [
            peer
            for peer in self._book.due(trio.current_time())
            if peer not in busy and not self._connections.is_refused(peer)
        ]
        room = min(ENOUGH_PEERS - len(busy), _DIALS_AT_ONCE - len(self._trying))
        kept = set(self._book.kept())
        return [peer for number, peer in enumerate(ready) if number < room or peer in kept]

    async def _try(self, peer: bytes) -> None:
        try:
            await self.connect(peer)
        except ChannelBroken:
            pass
        finally:
            self._trying.discard(peer)

    async def _race(self, peer: bytes) -> None:
        with trio.move_on_after(_DIAL_S):
            async with trio.open_nursery() as nursery:
                for address in self._book.addresses(peer):
                    nursery.start_soon(contained, self._dial_one, peer, address, nursery.cancel_scope)

    async def _dial_one(self, peer: bytes, address: PeerAddress, race: trio.CancelScope) -> None:
        try:
            await self._connections.dial(address)
        except ChannelBroken:
            return
        self._book.worked_at(peer, address)
        race.cancel()
