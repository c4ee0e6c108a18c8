"""A peer that follows the protocols only as far as it takes to break the next rule."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from bootstrap.channel import varint
from bootstrap.libp2p_host import Host, HostSettings, open_host
from bootstrap.libp2p_streams import PeerStream, id_of
from bootstrap.peer_address import parse_address
from node.libp2p_network import TOPICS, Libp2pNetwork

DATA, WINDOW_UPDATE, PING = 0, 1, 2
SYN = 1


class HostilePeer:
    """A connected peer with access to the frames below its streams."""

    def __init__(self, host: Host, victim: Libp2pNetwork) -> None:
        self.host, self.victim = host, victim
        self.key = host.key

    async def connect(self) -> None:
        """Make a new connection to the victim."""
        await self.host.connections.dial(parse_address(self.victim.addresses()[0]))

    async def disconnect(self) -> None:
        """Close all connections to the victim."""
        await self.host.connections.disconnect(self.victim.key)

    async def drop(self, carrying: PeerStream | None = None) -> None:
        """Cut the newest connection to the victim, or the one that carries a stream, as a dying process would."""
        muxed = self._muxed() if carrying is None else carrying._stream.muxed_conn
        await muxed.close()

    async def open(self, protocol: str) -> PeerStream:
        """A properly negotiated stream."""
        return await self.host.connections.open_stream(self.victim.key, protocol)

    async def send_frame(self, kind: int, flags: int, stream: int, length: int, body: bytes = b"") -> None:
        """Put any Yamux frame on the wire. Raises whatever the library raises when the victim hung up."""
        frame = struct.pack("!BBHII", 0, kind, flags, stream, length) + body
        await self._muxed().secured_conn.write(frame)

    async def wait_disconnected(self) -> None:
        """Wait until the victim hung up."""
        while self.host.connections.is_connected(self.victim.key):
            await trio.sleep(0.005)

    def number_of(self, stream: PeerStream) -> int:
        """The Yamux number of a stream."""
        return int(stream._stream.muxed_stream.inner.number)

    def _muxed(self) -> Any:
        return self.host.libp2p.get_network().get_connections(id_of(self.victim.key))[-1].muxed_conn


@asynccontextmanager
async def hostile_peer(victim: Libp2pNetwork) -> AsyncIterator[HostilePeer]:
    """A hostile peer, connected to its victim. It has no gossip stream but those that it is told to open."""
    seed = b"hostile!" * 4
    settings = HostSettings(seed=seed, listen=("/ip4/127.0.0.1/tcp/0",), topics=TOPICS, max_message=65536)
    async with open_host(settings) as host:
        peer = HostilePeer(host, victim)
        host.gossip.pubsub.blacklisted_peers.add(id_of(victim.key))
        await peer.connect()
        yield peer


def framed(body: bytes) -> bytes:
    """With the length prefix of libp2p messages."""
    return varint(len(body)) + body


async def raw_socket(victim: Libp2pNetwork) -> trio.SocketStream:
    """A TCP connection to the victim on which nothing was said yet."""
    address = parse_address(victim.addresses()[0])
    return await trio.open_tcp_stream(address.host, address.port)
