"""libp2p's Swarm, made fit for strangers: who is admitted, how many, and what their mistakes may cost.

Changed against the library: an inbound connection gives its place back when it ends; handshakes and connections are
counted per address and per peer; banned peers are refused; a failing stream handler costs one stream instead of the
process, and so does any other task. Everything else is the library's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import trio
from libp2p.abc import IMuxedConn, INetStream
from libp2p.crypto.keys import KeyPair
from libp2p.custom_types import StreamHandlerFn
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStore
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from multiaddr import Multiaddr

from bootstrap.connection_limits import AddressCount, ConnectionLimits
from bootstrap.libp2p_noise import PROTOCOL_ID as NOISE
from bootstrap.libp2p_noise import HardenedNoise
from bootstrap.libp2p_tasks import ContainedTasks
from bootstrap.libp2p_yamux import HardenedMuxers
from bootstrap.yamux import MAX_INBOUND_STREAMS

_log = logging.getLogger(__name__)


class HardenedSwarm(Swarm):
    """A swarm over TCP, Noise and Yamux.

    Attributes:
        is_refused: says whether a peer is unwelcome at the moment.
    """

    def __init__(self, key_pair: KeyPair, limits: ConnectionLimits) -> None:
        peer_id = ID.from_pubkey(key_pair.public_key)
        peerstore = PeerStore()
        peerstore.add_key_pair(peer_id, key_pair)
        upgrader = TransportUpgrader({NOISE: HardenedNoise(key_pair)}, {})
        upgrader.muxer_multistream = HardenedMuxers()
        super().__init__(
            peer_id,
            peerstore,
            upgrader,
            [TCP()],
            retry_config=RetryConfig(max_retries=0),
            connection_config=_connection_config(limits),
        )
        self.auto_connector = _IdleConnector(self)
        self.is_refused: Callable[[ID], bool] = lambda peer: False
        self._limits = limits
        self._pending: dict[trio.CancelScope, None] = {}
        self._pending_by_address = AddressCount(limits.pending_per_address)
        self._inbound_by_address = AddressCount(limits.per_address)
        self._serving: dict[ID, int] = {}

    @property
    def manager(self) -> Any:
        return ContainedTasks(super().manager)

    def set_stream_handler(self, stream_handler: StreamHandlerFn) -> None:
        """Every incoming stream goes through here; nothing that a handler raises gets further."""

        async def handle(stream: INetStream) -> None:
            peer = stream.muxed_conn.peer_id
            # A peer that opens and resets streams quickly must not pile up handlers that are still busy.
            if self._serving.get(peer, 0) >= MAX_INBOUND_STREAMS:
                await stream.reset()
                return
            self._serving[peer] = self._serving.get(peer, 0) + 1
            try:
                await stream_handler(stream)
            except Exception:  # noqa: BLE001 - in the library any exception of a handler ends the whole host
                _log.info("a handler of %s failed", stream.get_protocol(), exc_info=True)
                await stream.reset()
            finally:
                self._serving[peer] -= 1
                if not self._serving[peer]:
                    del self._serving[peer]

        super().set_stream_handler(handle)

    async def add_conn(self, muxed_conn: IMuxedConn, direction: str = "unknown") -> SwarmConn:
        """Admit a connection, or close it. Raises ``SwarmException`` when it is not admitted."""
        peer = muxed_conn.peer_id
        if peer == self.self_id or self.is_refused(peer):
            await muxed_conn.close()
            raise SwarmException("that peer is refused")
        connections = self.connections.get(peer, [])
        if len(connections) >= self._limits.per_peer:
            # The library spares young ones, so that one peer could take all places within their grace period.
            self.manager.run_task(self._close_connection_async, connections[0])
        return await super().add_conn(muxed_conn, direction)

    async def _do_handle_inbound_connection(self, read_write_closer: Any, maddr: Multiaddr, failure_event: Any) -> None:
        """Serve one incoming connection from its first byte to its end. Never raises.

        The library's version waits for the end of the host instead, so each connection keeps its place for ever.
        """
        try:
            host = read_write_closer.stream.socket.getpeername()[0]
            muxed = await self._shake_hands(read_write_closer, maddr, host)
            if muxed is not None:
                await self._stay(muxed, host)
        except (OSError, SwarmException) as error:
            _log.debug("an inbound connection failed: %s", error)
        except Exception:  # noqa: BLE001 - whatever a stranger provokes costs it its connection and nothing else
            _log.info("an inbound connection failed", exc_info=True)
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 1, shield=True):
                await trio.aclose_forcefully(read_write_closer.stream)

    async def _shake_hands(self, socket: Any, maddr: Multiaddr, host: str) -> IMuxedConn | None:
        if not self._pending_by_address.take(host):
            return None
        if len(self._pending) >= self._limits.pending:
            # The oldest goes: silent sockets lose their place to whoever comes next, and cannot lock it out.
            next(iter(self._pending)).cancel()
        scope = trio.CancelScope()
        self._pending[scope] = None
        try:
            with scope:
                return await self.upgrade_inbound_raw_conn(RawConnection(socket, False), maddr)
        finally:
            del self._pending[scope]
            self._pending_by_address.release(host)
        return None

    async def _stay(self, muxed: Any, host: str) -> None:
        if not self._inbound_by_address.take(host):
            await muxed.close()
            return
        try:
            await muxed.event_closed.wait()
        finally:
            self._inbound_by_address.release(host)


class _IdleConnector(AutoConnector):
    """The library's would dial every peer it ever heard of, up to half the limit; our dialer decides."""

    async def maybe_connect(self) -> None:
        """Connect to nobody."""


def _connection_config(limits: ConnectionLimits) -> ConnectionConfig:
    return ConnectionConfig(
        max_connections=limits.total,
        min_connections=0,
        low_watermark=0,
        high_watermark=limits.total,
        max_connections_per_peer=limits.per_peer,
        auto_connect_interval=3600.0,
        inbound_upgrade_timeout=limits.upgrade_s,
        outbound_upgrade_timeout=limits.upgrade_s,
        dial_timeout=limits.upgrade_s,
    )
