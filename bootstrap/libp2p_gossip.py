"""Topics: libp2p's Pubsub, with a guard before everything that peers send, and our judges in its middle.

A forwarder pays for what it forwards: a frame that does not parse, a message in no form of ours or without a valid
signature is its fault. Nothing heard can raise out of here, and each message is judged once, whoever forwards it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.pubsub.pb.rpc_pb2 import RPC, Message
from libp2p.pubsub.pubsub import Pubsub

from bootstrap.channel import ChannelBroken
from bootstrap.libp2p_gossip_message import (
    MAX_MESSAGES,
    MAX_SUBSCRIPTIONS,
    author_of,
    bounded_control,
    is_authentic,
    parse_frame,
)
from bootstrap.libp2p_gossip_router import BoundedQueues, HardenedGossipSub, SeenNames
from bootstrap.libp2p_streams import PeerConnections, PeerStream, key_of
from bootstrap.libp2p_tasks import ContainedTasks

_log = logging.getLogger(__name__)
_MAX_FRAME = 1024 * 1024

GossipJudge = Callable[[bytes, bytes], bool | None]
"""``judge(forwarder, data)``: whether to pass the message on. Synchronous and quick. ``None``: not from this forwarder
now, but another may bring it."""


class Gossip:
    """The topics of one host.

    Attributes:
        judges: by topic; to be there before the topic is joined.
        admit: asked before a message is looked at closely: may this forwarder send one more?
        on_fault: told about a peer that broke a rule of the protocol.
        pubsub, router: the library's services, to be run by the host.
    """

    def __init__(
        self, host: BasicHost, connections: PeerConnections, topics: frozenset[str], *, max_message: int
    ) -> None:
        self.admit: Callable[[bytes], bool] = lambda forwarder: True
        self.on_fault: Callable[[bytes, str], None] = lambda peer, reason: None
        self.judges: dict[str, GossipJudge] = {}
        self.connections, self.topics, self.max_message = connections, topics, max_message
        self.router = HardenedGossipSub()
        self.pubsub = _GuardedPubsub(host, self)

    async def join(self, topic: str) -> None:
        """Want a topic from now on; its judge sees each new message on it."""
        await self.pubsub.subscribe(topic)

    async def publish(self, topic: str, data: bytes) -> None:
        """Sign and send a message. It is not given to our own judge."""
        await self.pubsub.publish(topic, data)

    def accepts(self, forwarder: bytes, message: Message) -> bool | None:
        """Ask the topic's judge. One that raises loses one message, not the node."""
        try:
            return self.judges[message.topicIDs[0]](forwarder, message.data)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("a gossip judge failed")
            return False


class _GuardedPubsub(Pubsub):
    """The library's service with its reading, judging and peer keeping replaced."""

    def __init__(self, host: BasicHost, gossip: Gossip) -> None:
        super().__init__(host, gossip.router, strict_signing=True, sweep_interval=3600, allowed_topics=gossip.topics)
        self._gossip = gossip
        self._reading: dict[ID, PeerStream] = {}
        self.counter = time.time_ns()  # seconds in the library: a restarted node repeats numbers and is not heard
        self.seen_messages.stop()
        self.seen_messages: Any = SeenNames()
        self.peer_queues = BoundedQueues()

    @property
    def manager(self) -> Any:
        return ContainedTasks(super().manager)

    # --- hearing ---

    async def stream_handler(self, stream: INetStream) -> None:
        """Read a peer's frames until its stream ends. Never raises."""
        peer = stream.muxed_conn.peer_id
        frames = PeerStream(stream)
        if previous := self._reading.get(peer):
            await previous.reset()  # one per peer: each may make us hold a frame of a mebibyte
        self._reading[peer] = frames
        try:
            while True:
                length = await frames.receive_varint()
                if length > _MAX_FRAME:
                    self._gossip.on_fault(frames.peer, "oversized gossip frame")
                    break
                rpc = parse_frame(await frames.receive_exactly(length))
                if rpc is None:
                    self._gossip.on_fault(frames.peer, "undecodable gossip frame")
                    break
                await self._on_rpc(peer, rpc)
        except ChannelBroken:
            pass
        finally:
            if self._reading.get(peer) is frames:
                del self._reading[peer]
            await frames.reset()

    async def _on_rpc(self, peer: ID, rpc: RPC) -> None:
        if not self._peer_is_connected(peer):
            return
        for change in rpc.subscriptions[:MAX_SUBSCRIPTIONS]:
            self.handle_subscription(peer, change)
        for message in rpc.publish[:MAX_MESSAGES]:
            await self.push_msg(peer, message)
        control = bounded_control(rpc.control, frozenset(self.topic_ids))
        if control.HasField("control"):
            await self.router.handle_rpc(control, peer)

    async def push_msg(self, msg_forwarder: ID, msg: Message) -> None:
        """Judge a message and pass it on. Ours come this way too, and are not judged."""
        name = self.get_message_id(msg)
        if msg_forwarder != self.my_id and not self._is_welcome(key_of(msg_forwarder), name, msg):
            return
        accepted = msg_forwarder == self.my_id or self._gossip.accepts(key_of(msg_forwarder), msg)
        if accepted is None:
            return  # not seen: a peer over its share, quick to forward, must not keep a message from us
        self.seen_messages.add(name, trio.current_time())
        if accepted:
            await self.router.publish(msg_forwarder, msg)

    def _is_welcome(self, forwarder: bytes, name: bytes, message: Message) -> bool:
        author = author_of(message, self._gossip.max_message)
        if author is None:
            self._gossip.on_fault(forwarder, "malformed gossip message")
            return False
        is_known = self.seen_messages.has(name) or message.from_id == self.my_id.to_bytes()
        # Cheap tests first: a signature costs a hundred times as much, so a peer may only spend its own share.
        if is_known or message.topicIDs[0] not in self._gossip.judges:
            return False
        if self._gossip.connections.is_refused(author) or not self._gossip.admit(forwarder):
            return False
        if not is_authentic(message, author):
            self._gossip.on_fault(forwarder, "gossip message without a valid signature")
            return False
        return True

    def notify_subscriptions(self, publish_message: Message) -> None:
        """The judges have seen it; the library's queues would drop what is not read at once."""

    # --- speaking ---

    async def _handle_new_peer(self, peer_id: ID) -> None:
        await super()._handle_new_peer(peer_id)
        for topic in [topic for topic, peers in self.peer_topics.items() if peer_id in peers]:
            await self.router.on_peer_subscribed(peer_id, topic)

    async def handle_sending_messages(self, peer_id: ID, stream: INetStream, queue: Any) -> None:
        """Send what is queued for a peer, and notice when it ends our stream: it says nothing on it otherwise."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, peer_id, stream, nursery.cancel_scope)
            await super().handle_sending_messages(peer_id, stream, queue)
            nursery.cancel_scope.cancel()

    async def _watch(self, peer_id: ID, stream: INetStream, sending: trio.CancelScope) -> None:
        frames = PeerStream(stream)
        try:
            while await frames.receive():
                pass
        except ChannelBroken:
            pass
        await frames.reset()
        if self.peers.get(peer_id) is stream:
            self._handle_dead_peer(peer_id)
        sending.cancel()

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Our stream to a peer ended. While it stays connected it keeps its subscriptions: it said them on a stream
        of its own and will not say them again. The library forgets them, and never sends to that peer again."""
        kept = [topic for topic, peers in self.peer_topics.items() if peer_id in peers]
        super()._handle_dead_peer(peer_id)
        if self._peer_is_connected(peer_id):
            for topic in kept:
                self.peer_topics.setdefault(topic, set()).add(peer_id)
