"""Streams and connections by key: libp2p's host as the rest of this program wants to see it.

Peers are Ed25519 keys, broken things are ``ChannelBroken``, and a stream can say whether it is fit for another use.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import INetConn, INetStream, INetwork, INotifee
from libp2p.custom_types import TProtocol
from libp2p.exceptions import BaseLibp2pError
from libp2p.host.basic_host import BasicHost
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

from bootstrap.channel import Buffered, ChannelBroken
from bootstrap.identity import key_of_multihash, multihash_of
from bootstrap.libp2p_swarm import HardenedSwarm
from bootstrap.peer_address import PeerAddress

_FINISH_S = 5.0
_MAX_LISTEN_ADDRESSES = 32


class PeerStream(Buffered):
    """A negotiated stream to a peer.

    Attributes:
        peer: the Ed25519 key that the other side proved to hold.
    """

    def __init__(self, stream: INetStream) -> None:
        super().__init__(_StreamChannel(stream))
        self.peer = key_of(stream.muxed_conn.peer_id)
        self._stream: Any = stream

    @property
    def is_fresh(self) -> bool:
        """Whether it is open both ways with nothing unread: fit for another request."""
        return bool(self._stream.muxed_stream.inner.is_fresh) and not self._ahead

    async def send_eof(self) -> None:
        """Say that nothing more comes from us."""
        await self._stream.close_write()

    async def reset(self) -> None:
        """Break it on both sides. Works in a cancelled task too, and never raises."""
        with trio.CancelScope(shield=True):
            await self._stream.reset()

    async def aclose(self) -> None:
        """End it cleanly: our end, then theirs, which is waited for a little while; what they still say is lost.

        A reset right after our end would make the other side lose bytes that it has not read yet.
        """
        try:
            with trio.fail_after(_FINISH_S):
                await self.send_eof()
                while await self.receive():
                    pass
            await self._stream.close()
        except (ChannelBroken, BaseLibp2pError, trio.TooSlowError):
            await self.reset()


StreamHandler = Callable[[PeerStream], Awaitable[None]]


class PeerConnections:
    """The connections of a running host, by the key of the peer.

    Attributes:
        is_refused: says whether a peer is unwelcome at the moment.
        on_connected: called with the key of a peer for each new connection. Must not raise or block.
        on_disconnected: called when the last connection to a peer ended. Must not raise or block.
    """

    def __init__(self, host: BasicHost, swarm: HardenedSwarm) -> None:
        self.is_refused: Callable[[bytes], bool] = lambda peer: False
        self.on_connected: list[Callable[[bytes], None]] = []
        self.on_disconnected: list[Callable[[bytes], None]] = []
        self._host, self._swarm = host, swarm
        swarm.is_refused = self._refuses
        swarm.register_notifee(_Notifee(self))

    def peers(self) -> list[bytes]:
        """The keys of the connected peers."""
        return [key_of(peer) for peer in self._swarm.connections if self._alive(peer)]

    def is_connected(self, peer: bytes) -> bool:
        """Whether there is a live connection to a peer."""
        return bool(self._alive(id_of(peer)))

    def rtt(self, peer: bytes) -> float:
        """Round trip time to a connected peer in seconds, 0.0 when not measured yet."""
        return max((float(conn.muxed_conn.session.rtt) for conn in self._alive(id_of(peer))), default=0.0)

    def listen_addresses(self, peer: bytes) -> tuple[str, ...]:
        """Where a connected peer says that it listens, as far as it can be read."""
        try:
            said = self._swarm.peerstore.addrs(id_of(peer))[:_MAX_LISTEN_ADDRESSES]
        except PeerStoreError:
            return ()
        return tuple(text for address in said if (text := _text_of(address)) is not None)

    async def dial(self, address: PeerAddress) -> None:
        """Connect to the peer that the address names.

        Raises:
            ChannelBroken: nobody answers there, it is another peer, or we refuse it.
        """
        assert address.key is not None
        peer = id_of(address.key)
        self._swarm.unblock_peer(peer)  # the library would refuse for a minute after one failure
        try:
            await self._swarm.dial_addr(Multiaddr(str(address)), peer)
        except (BaseLibp2pError, ValueError):  # multiaddr's own errors are ValueErrors
            raise ChannelBroken(f"nobody answers at {address}") from None

    async def open_stream(self, peer: bytes, protocol: str) -> PeerStream:
        """A stream over an existing connection, its protocol agreed.

        Raises:
            ChannelBroken: not connected, or the peer does not speak the protocol.
        """
        if not self.is_connected(peer):
            raise ChannelBroken("not connected to that peer")
        try:
            return PeerStream(await self._host.new_stream(id_of(peer), [TProtocol(protocol)]))
        except Exception as error:  # noqa: BLE001 - a connection that just ended makes the library raise almost anything
            raise ChannelBroken(f"no stream: {type(error).__name__}") from None

    def handle(self, protocol: str, handler: StreamHandler) -> None:
        """Serve a protocol. The stream is ended when the handler returns, and reset when it raises."""

        async def serve(stream: INetStream) -> None:
            peer_stream = PeerStream(stream)
            try:
                await handler(peer_stream)
                await peer_stream.aclose()
            except (ChannelBroken, trio.TooSlowError):
                await peer_stream.reset()

        self._host.set_stream_handler(TProtocol(protocol), serve)

    async def disconnect(self, peer: bytes) -> None:
        """Close all connections to a peer."""
        await self._swarm.close_peer(id_of(peer))

    def _alive(self, peer: ID) -> list[Any]:
        return [conn for conn in self._swarm.connections.get(peer, ()) if not conn.muxed_conn.is_closed]

    def _refuses(self, peer: ID) -> bool:
        key = key_of_multihash(peer.to_bytes())
        return key is None or self.is_refused(key)


class _Notifee(INotifee):
    """Turns the library's events into calls by key."""

    def __init__(self, connections: PeerConnections) -> None:
        self._connections = connections

    async def connected(self, network: INetwork, conn: INetConn) -> None:
        for call in self._connections.on_connected:
            call(key_of(conn.muxed_conn.peer_id))

    async def disconnected(self, network: INetwork, conn: INetConn) -> None:
        key = key_of(conn.muxed_conn.peer_id)
        if not self._connections.is_connected(key):
            for call in self._connections.on_disconnected:
                call(key)

    async def opened_stream(self, network: INetwork, stream: INetStream) -> None:
        """Not interesting."""

    async def closed_stream(self, network: INetwork, stream: INetStream) -> None:
        """Not interesting."""

    async def listen(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Not interesting."""

    async def listen_close(self, network: INetwork, multiaddr: Multiaddr) -> None:
        """Not interesting."""


class _StreamChannel:
    """A stream of the library as a channel."""

    def __init__(self, stream: INetStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.write(data)
        except BaseLibp2pError as error:
            raise ChannelBroken(f"the stream broke: {type(error).__name__}") from None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await self._stream.read(max_bytes)
        except StreamEOF:
            return b""
        except BaseLibp2pError as error:
            raise ChannelBroken(f"the stream broke: {type(error).__name__}") from None

    async def aclose(self) -> None:
        await self._stream.reset()


def _text_of(address: Multiaddr) -> str | None:
    """The library takes any bytes of a stranger for an address, and raises only when it shall say which."""
    try:
        return str(address)
    except ValueError:
        return None


def id_of(key: bytes) -> ID:
    """The library's name of a peer."""
    return ID(multihash_of(key))


def key_of(peer: ID) -> bytes:
    """The key in the library's name of an admitted peer."""
    key = key_of_multihash(peer.to_bytes())
    assert key is not None, "peers without an Ed25519 key are never admitted"
    return key
