"""The Network port over libp2p: peers by key, budgets and bans, requests, streams and gossip.

It adds no protocol of its own beyond the length in front of a request. What the port promises about errors holds:
whatever a peer does ends in ``PeerUnreachable`` for the one who waits for it, or in nothing at all.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from bootstrap.channel import ChannelBroken
from bootstrap.connection_limits import DEFAULT_LIMITS, ConnectionLimits
from bootstrap.containment import contained
from bootstrap.identity import peer_id_of
from bootstrap.libp2p_host import Host, HostSettings, open_host
from bootstrap.libp2p_streams import PeerStream
from bootstrap.peer_address import dialable
from market.errors import FabricError, PeerFault
from node.libp2p_requests import RequestServer, RequestStreams
from node.peer_budgets import GOSSIP_RATE, REQUEST_RATE, STREAM_RATE, PeerBudgets
from node.ports import AnswerLost, Judge, PeerInfo, PeerUnreachable, RequestHandler, StreamHandler, Verdict
from node.wire import MAX_GOSSIP_BYTES, REQUEST_TIMEOUT_S, TOPIC_BIDS, TOPIC_OFFERS

_log = logging.getLogger(__name__)
_MAX_ADDRESSES = 8
TOPICS = frozenset({TOPIC_BIDS, TOPIC_OFFERS})


@asynccontextmanager
async def open_libp2p_network(
    *,
    seed: bytes,
    listen: tuple[str, ...],
    introducers: tuple[str, ...] = (),
    topics: frozenset[str] = TOPICS,
    announce: tuple[str, ...] = (),
    book_path: Path | None = None,
    limits: ConnectionLimits = DEFAULT_LIMITS,
) -> AsyncIterator[Libp2pNetwork]:
    """Be on the network inside this block. The arguments are those of :class:`bootstrap.libp2p_host.HostSettings`.

    Raises:
        InvalidRequest: a malformed address, or one that cannot be listened on (``code="port_in_use"``).
    """
    settings = HostSettings(
        seed=seed,
        listen=listen,
        topics=topics,
        max_message=MAX_GOSSIP_BYTES,
        introducers=introducers,
        announce=announce,
        book_path=book_path,
        limits=limits,
    )
    async with open_host(settings) as host:
        yield Libp2pNetwork(host)


class Libp2pNetwork:
    """A running node's view of the network. Made by :func:`open_libp2p_network`."""

    def __init__(self, host: Host) -> None:
        self._host, self._connections = host, host.connections
        self._budgets = PeerBudgets()
        self._streams = RequestStreams(self._open)
        self._server = RequestServer(
            allow=lambda peer: self._budgets.allow(peer, REQUEST_RATE, trio.current_time()),
            on_fault=self.penalise,
        )
        self._connections.is_refused = lambda peer: self._budgets.is_banned(peer, trio.current_time())
        self._connections.on_disconnected += [self._streams.forget, self._server.forget]
        host.gossip.admit = lambda peer: self._budgets.allow(peer, GOSSIP_RATE, trio.current_time())
        host.gossip.on_fault = self.penalise

    @property
    def key(self) -> bytes:
        return self._host.key

    def addresses(self) -> tuple[str, ...]:
        return tuple(str(address) for address in self._host.addresses)

    def peers(self) -> list[PeerInfo]:
        found = []
        for peer in self._connections.peers():
            known = self._host.book.addresses(peer)
            found.append(
                PeerInfo(
                    key=peer,
                    peer_id=peer_id_of(peer),
                    addresses=tuple(str(address) for address in known),
                    rtt_us=round(self._connections.rtt(peer) * 1_000_000),
                )
            )
        return found

    def learn(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        self._host.dialer.learn(peer, dialable(peer, addresses, limit=_MAX_ADDRESSES))

    def subscribe(self, topic: str, judge: Judge, deliver: Callable[[bytes, bytes], None]) -> None:
        def hear(forwarder: bytes, message: bytes) -> bool | None:
            verdict = judge(forwarder, message)
            if verdict is Verdict.POSTPONE:
                return None
            if verdict is Verdict.REJECT:
                self.penalise(forwarder, "rejected gossip")
            elif verdict is Verdict.ACCEPT:
                deliver(forwarder, message)
            return verdict is Verdict.ACCEPT

        self._host.gossip.judges[topic] = hear
        self._host.nursery.start_soon(contained, self._host.gossip.join, topic)

    async def publish(self, topic: str, message: bytes) -> None:
        if len(message) > MAX_GOSSIP_BYTES:
            raise ValueError("gossip message over the size limit")
        await self._host.gossip.publish(topic, message)

    def serve(self, protocol: str, handler: RequestHandler, *, max_request: int) -> None:
        self._connections.handle(protocol, self._server.handler(handler, max_request=max_request))

    def serve_stream(self, protocol: str, handler: StreamHandler) -> None:
        async def serve(stream: PeerStream) -> None:
            if not self._budgets.allow(stream.peer, STREAM_RATE, trio.current_time()):
                raise ChannelBroken("the peer opens streams too fast")
            try:
                await handler(Libp2pStream(stream))
            except PeerFault as fault:
                self.penalise(stream.peer, fault.code)
                raise ChannelBroken("the peer broke a rule") from None
            except (FabricError, PeerUnreachable) as error:
                raise ChannelBroken(f"the stream was given up: {error}") from None

        self._connections.handle(protocol, serve)

    async def request(
        self, peer: bytes, protocol: str, request: bytes, *, timeout: float, max_response: int = 65536
    ) -> bytes:
        sending = trio.Event()
        try:
            with trio.fail_after(timeout):
                return await self._streams.exchange(
                    peer, protocol, request, max_response=max_response, on_sending=sending.set
                )
        except (ChannelBroken, trio.TooSlowError) as error:
            kind = AnswerLost if sending.is_set() else PeerUnreachable
            raise kind(f"no answer on {protocol}: {error}") from None

    async def open_stream(self, peer: bytes, protocol: str) -> Libp2pStream:
        try:
            with trio.fail_after(REQUEST_TIMEOUT_S):
                return Libp2pStream(await self._open(peer, protocol))
        except (ChannelBroken, trio.TooSlowError) as error:
            raise PeerUnreachable(f"no stream on {protocol}: {error}") from None

    def penalise(self, peer: bytes, reason: str) -> None:
        _log.info("peer %s broke a rule: %s", peer_id_of(peer), reason)
        if self._budgets.penalise(peer, trio.current_time()):
            _log.warning("peer %s is banned for a while", peer_id_of(peer))
            self._host.nursery.start_soon(contained, self._connections.disconnect, peer)

    async def _open(self, peer: bytes, protocol: str) -> PeerStream:
        if peer == self.key or self._connections.is_refused(peer):
            raise ChannelBroken("that is ourselves, or banned")
        await self._host.dialer.connect(peer)
        return await self._connections.open_stream(peer, protocol)


class Libp2pStream:
    """The ByteStream port over one libp2p stream."""

    def __init__(self, stream: PeerStream) -> None:
        self._stream = stream

    @property
    def peer(self) -> bytes:
        return self._stream.peer

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send(data)
        except ChannelBroken as error:
            raise PeerUnreachable(str(error)) from None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        try:
            return await self._stream.receive(max_bytes)
        except ChannelBroken as error:
            raise PeerUnreachable(str(error)) from None

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        await self._stream.reset()
