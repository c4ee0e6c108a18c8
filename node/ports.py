"""What a node asks of the world beyond the runtime's and the ledger's ports: a network and a clock.

Peers are named by their Ed25519 public key (32 bytes); the libp2p adapter turns that into a PeerId.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Protocol

from msgspec import Struct


class Clock(Protocol):
    """UTC time. Durations and deadlines inside tasks use trio's own clock."""

    def now_ms(self) -> int: ...


class Verdict(Enum):
    """What to do with a gossip message: pass it on, drop it quietly, leave it for another forwarder because this one
    has used up its share, or drop it and lower the sender's budget."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    POSTPONE = "postpone"
    REJECT = "reject"


class PeerUnreachable(Exception):
    """No answer from that peer: not connected, no such address, time-out, stream reset, protocol not spoken."""


class AnswerLost(PeerUnreachable):
    """The same, after the request was under way: the peer may have heard and answered it."""


class ByteStream(Protocol):
    """A two-way byte stream to a peer. After any exception the stream is already reset."""

    @property
    def peer(self) -> bytes: ...
    async def send(self, data: bytes) -> None: ...
    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes, at most ``max_bytes``; empty at the other side's clean end.

        Raises:
            PeerUnreachable: the stream broke before its end.
        """
        ...

    async def send_eof(self) -> None: ...
    async def aclose(self) -> None: ...
    async def reset(self) -> None: ...


class PeerInfo(Struct, frozen=True, kw_only=True):
    """A connected peer, for people and for the CLI."""

    key: bytes
    peer_id: str
    addresses: tuple[str, ...]
    rtt_us: int


RequestHandler = Callable[[bytes, bytes], Awaitable[bytes]]
"""``handler(peer, request) -> response``. May raise ``PeerFault``: the stream is reset and the peer's budget falls."""
StreamHandler = Callable[[ByteStream], Awaitable[None]]
Judge = Callable[[bytes, bytes], Verdict]
"""``judge(forwarder, message) -> verdict``. Synchronous, under a millisecond, never raises."""


class Network(Protocol):
    """Gossip, requests and streams to peers named by key. Handlers are registered before the node starts to talk."""

    @property
    def key(self) -> bytes: ...
    def addresses(self) -> tuple[str, ...]:
        """Our own dialable multiaddrs, each ending in ``/p2p/<peer id>``."""
        ...

    def peers(self) -> list[PeerInfo]: ...
    def learn(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        """Remember where a peer may be reached. Bad addresses are dropped; nothing is dialed yet."""
        ...

    def subscribe(self, topic: str, judge: Judge, deliver: Callable[[bytes, bytes], None]) -> None:
        """Join a topic. ``deliver(forwarder, message)`` is called once per accepted message, and must not block."""
        ...

    async def publish(self, topic: str, message: bytes) -> None: ...
    def serve(self, protocol: str, handler: RequestHandler, *, max_request: int) -> None: ...
    def serve_stream(self, protocol: str, handler: StreamHandler) -> None: ...
    async def request(
        self, peer: bytes, protocol: str, request: bytes, *, timeout: float, max_response: int = 65536
    ) -> bytes:
        """One exchange.

        Raises:
            AnswerLost: no answer in time, or none of the right size.
            PeerUnreachable: the same, and the peer cannot have heard the request.
        """
        ...

    async def open_stream(self, peer: bytes, protocol: str) -> ByteStream:
        """Open a byte stream.

        Raises:
            PeerUnreachable: as for :meth:`request`.
        """
        ...

    def penalise(self, peer: bytes, reason: str) -> None:
        """Lower a peer's budget for a broken rule; at zero it is banned for a while."""
        ...
