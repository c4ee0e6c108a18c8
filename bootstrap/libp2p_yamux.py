"""Our Yamux in the place where libp2p hosts expect a multiplexer: their interfaces, their exceptions.

The library's own class does not enforce windows, has no cap on streams, breaks when a writer is cancelled and does
not notice a peer that vanished; see ``yamux``.
"""

from __future__ import annotations

import logging
from typing import Any

import trio
from libp2p.abc import IMuxedConn, IMuxedStream, ISecureConn
from libp2p.connection_types import ConnectionType
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)
from libp2p.stream_muxer.muxer_multistream import MuxerMultistream
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID
from multiaddr import Multiaddr

from bootstrap.channel import ChannelBroken
from bootstrap.yamux import MAX_INBOUND_STREAMS, Yamux
from bootstrap.yamux_stream import YamuxStream

_log = logging.getLogger(__name__)
_ALL = 1 << 30


class HardenedMuxers(MuxerMultistream):
    """Negotiates Yamux, and nothing else. The library's negotiator would always make its own Yamux."""

    def __init__(self) -> None:
        super().__init__({TProtocol(PROTOCOL_ID): HardenedYamux})

    async def new_conn(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        protocol, _ = await self._selector.select(conn, conn.is_initiator, self.negotiate_timeout)
        return self._annotate_connection(HardenedYamux(conn, peer_id), conn, protocol)


class HardenedYamux(IMuxedConn):
    """One multiplexed connection.

    Attributes:
        session: the Yamux session, which knows the round trip time.
        event_closed: set when the connection is over.
    """

    def __init__(self, conn: ISecureConn, peer_id: ID) -> None:
        self.peer_id = peer_id
        self.secured_conn = conn
        self.event_started, self.event_closed = trio.Event(), trio.Event()
        self.event_shutting_down = trio.Event()
        self._accepted, self._to_accept = trio.open_memory_channel[MuxedStream](MAX_INBOUND_STREAMS)
        self._scope = trio.CancelScope()
        self.session = Yamux(_SecuredChannel(conn), is_dialer=conn.is_initiator, on_stream=self._on_stream)

    @property
    def is_initiator(self) -> bool:
        return self.secured_conn.is_initiator

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self.is_closed

    @property
    def is_closed(self) -> bool:
        return self.event_shutting_down.is_set()

    async def start(self) -> None:
        """Serve the connection until it ends. Never raises: the host would end with it."""
        self.event_started.set()
        try:
            with self._scope:
                await self.session.run()
        except Exception:  # noqa: BLE001 - a fault of ours in one connection must not end the others
            _log.exception("a connection failed")
        finally:
            self.event_shutting_down.set()
            self._accepted.close()  # SwarmConn takes this as the end of the connection
            self.event_closed.set()

    async def close(self) -> None:
        self.event_shutting_down.set()
        self._scope.cancel()
        with trio.CancelScope(shield=True):
            await self.secured_conn.close()

    async def open_stream(self) -> MuxedStream:
        try:
            return MuxedStream(await self.session.open(), self)
        except ChannelBroken as error:
            raise MuxedStreamError(str(error)) from None

    async def accept_stream(self) -> MuxedStream:
        try:
            return await self._to_accept.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise MuxedConnUnavailable("the connection is closed") from None

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.secured_conn.get_remote_address()

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self.secured_conn.get_connection_type()

    def _on_stream(self, stream: YamuxStream) -> None:
        try:
            self._accepted.send_nowait(MuxedStream(stream, self))
        except (trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            stream.reset_now()


class MuxedStream(IMuxedStream):
    """One stream of a connection.

    Attributes:
        inner: the stream itself, for those who need to know whether it is still fresh.
    """

    def __init__(self, inner: YamuxStream, connection: HardenedYamux) -> None:
        self.inner = inner
        self.muxed_conn = connection

    async def read(self, n: int | None = None) -> bytes:
        """At most ``n`` bytes, all that is there without it. Raises ``MuxedStreamEOF`` or ``MuxedStreamReset``."""
        try:
            data = await self.inner.receive(n if n is not None and n >= 0 else _ALL)
        except ChannelBroken as error:
            raise MuxedStreamReset(str(error)) from None
        if not data and n != 0:
            raise MuxedStreamEOF("the peer has nothing more to say")
        return data

    async def write(self, data: bytes) -> None:
        """Send all of it. Raises ``MuxedStreamReset``; the stream is then broken."""
        try:
            await self.inner.send(data)
        except ChannelBroken as error:
            raise MuxedStreamReset(str(error)) from None

    async def close(self) -> None:
        """End our direction; the peer may still send."""
        await self.inner.send_eof()

    async def reset(self) -> None:
        self.inner.reset_now()
        await trio.lowlevel.checkpoint()

    def set_deadline(self, ttl: int) -> None:
        """Streams have no deadline of their own here: callers bound what they wait for with cancel scopes."""
        if ttl < 0:
            raise ValueError("a deadline cannot be negative")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.muxed_conn.get_remote_address()  # type: ignore[attr-defined,no-any-return]

    async def __aenter__(self) -> MuxedStream:
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self.close()


class _SecuredChannel:
    """A secured connection as a channel."""

    def __init__(self, connection: ISecureConn) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        try:
            await self._connection.write(data)
        except (IOException, RawConnError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelBroken("the connection broke") from None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await self._connection.read(None)
        except (IOException, RawConnError, OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            raise ChannelBroken("the connection broke") from None

    async def aclose(self) -> None:
        with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
            try:
                await self._connection.close()
            except (IOException, RawConnError, OSError):
                return
