"""libp2p's GossipSub router with its memory bounded and its mesh mended.

Against the library: messages are offered (IHAVE) to peers in back-off too, or a node that everyone pruned hears
nothing for a minute; GRAFT lists do not leak from one peer into the next; what a peer can make us send, keep or
remember is bounded. Its switches for spam protection, adaptation and eclipse protection are off: measured, they
drop honest messages and set the heartbeat to half a minute.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.mcache import MessageCache
from libp2p.pubsub.pb.rpc_pb2 import (
    RPC,
    ControlGraft,
    ControlIHave,
    ControlIWant,
    ControlMessage,
    ControlPrune,
    Message,
)
from libp2p.pubsub.rpc_queue import PriorityQueue

from bootstrap.libp2p_tasks import ContainedTasks

MESHSUB = TProtocol("/meshsub/1.1.0")
"""Later versions cost 60 % more CPU for our small messages and gain nothing."""
HEARTBEAT_S = 1
SEEN_S = 300.0
MAX_SEEN = 50_000
MAX_CACHED_BYTES = 16 * 1024 * 1024
MAX_SERVED_BYTES = 2 * 1024 * 1024
MAX_SERVED_TIMES = 3
MAX_WAITING = 1024
MAX_TOGETHER, MAX_TOGETHER_BYTES = 16, 256 * 1024
"""Waiting packets that travel as one: far below what the other side takes apart."""
MAX_WAITING_BYTES = 4 * 1024 * 1024
_GOSSIP_ROUNDS, _HISTORY_ROUNDS = 5, 10


class HardenedGossipSub(GossipSub):
    """The router of one node."""

    def __init__(self) -> None:
        super().__init__(
            protocols=[MESHSUB],
            degree=6,
            degree_low=4,
            degree_high=12,
            heartbeat_interval=HEARTBEAT_S,
            heartbeat_initial_delay=0.2,
            gossip_window=_GOSSIP_ROUNDS,
            gossip_history=_HISTORY_ROUNDS,
            prune_back_off=5,
            unsubscribe_back_off=1,
            do_px=False,
            spam_protection_enabled=False,
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=1,
        )
        self.mcache = _BoundedCache(_GOSSIP_ROUNDS, _HISTORY_ROUNDS)
        self._is_gossiping = False
        self._served_bytes: Counter[ID] = Counter()
        self._served_times: Counter[tuple[ID, bytes]] = Counter()

    @property
    def manager(self) -> Any:
        return ContainedTasks(super().manager)

    def gossip_heartbeat(self) -> Any:
        """Choose whom to offer messages; called once a second."""
        self._served_bytes.clear()
        if len(self._served_times) > MAX_SEEN:
            self._served_times.clear()
        self._is_gossiping = True
        try:
            return super().gossip_heartbeat()
        finally:
            self._is_gossiping = False

    def _get_in_topic_gossipsub_peers_from_minus(
        self, topic: str, num_to_select: int, minus: Any, backoff_check: bool = False
    ) -> list[ID]:
        return super()._get_in_topic_gossipsub_peers_from_minus(
            topic, num_to_select, minus, backoff_check and not self._is_gossiping
        )

    async def _emit_control_msgs(
        self,
        peers_to_graft: dict[ID, list[str]],
        peers_to_prune: dict[ID, list[str]],
        peers_to_gossip: dict[ID, dict[str, list[bytes]]],
    ) -> None:
        for peer in {**peers_to_graft, **peers_to_prune, **peers_to_gossip}:
            control = ControlMessage()
            for topic in peers_to_graft.get(peer, ()):
                control.graft.append(ControlGraft(topicID=topic))
            for topic in peers_to_prune.get(peer, ()):
                self._add_back_off(peer, topic, False)
                control.prune.append(ControlPrune(topicID=topic, backoff=self.prune_back_off))
            for topic, names in peers_to_gossip.get(peer, {}).items():
                control.ihave.append(ControlIHave(topicID=topic, messageIDs=names))
            await self.emit_control_message(control, peer)

    async def handle_iwant(self, iwant_msg: ControlIWant, sender_peer_id: ID) -> None:
        """Send what a peer lacks. Asking again and again, or for too much at once, is not answered.

        The library answers a name as often as it is repeated: one small packet would make it send a gigabyte.
        """
        for name in iwant_msg.messageIDs:
            message = self.mcache.get(name)
            if message is None or self._served_times[sender_peer_id, name] >= MAX_SERVED_TIMES:
                continue
            size = message.ByteSize()
            if self._served_bytes[sender_peer_id] + size > MAX_SERVED_BYTES:
                break
            self._served_bytes[sender_peer_id] += size
            self._served_times[sender_peer_id, name] += 1
            self.send_rpc(sender_peer_id, RPC(publish=[message]))


class SeenNames:
    """Names of messages that were handled, for five minutes. The library's has no bound, and a thread to clean it."""

    def __init__(self) -> None:
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def has(self, name: bytes) -> bool:
        """Whether it was handled."""
        return name in self._until

    def add(self, name: bytes, now: float = 0.0) -> bool:
        """Remember it; ``False`` when it was known."""
        is_new = name not in self._until
        self._until[name] = now + SEEN_S
        while len(self._until) > MAX_SEEN or next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        return is_new


class BoundedQueues(dict[Any, Any]):
    """The queues of RPCs to each peer, each bounded in number and bytes."""

    def __setitem__(self, peer: Any, queue: Any) -> None:
        queue._queue = _BoundedQueue()  # holds 32 in the library: bursts of ours would be cut off
        super().__setitem__(peer, queue)


class _BoundedQueue(PriorityQueue):
    def __init__(self) -> None:
        super().__init__(MAX_WAITING)
        self._bytes = 0

    def push(self, rpc: RPC, priority: bool = False) -> bool:
        size = rpc.ByteSize()
        if self._bytes + size > MAX_WAITING_BYTES or not super().push(rpc, priority):
            return False
        self._bytes += size
        return True

    def pop(self) -> RPC | None:
        """What has waited longest, and what waits behind it, as one packet: the busier a node, the fewer it sends. A
        packet costs as much as several messages in it."""
        packet = self._pop_one()
        if packet is None:
            return None
        size = packet.ByteSize()
        for _ in range(MAX_TOGETHER - 1):
            waiting = self._priority or self._non_priority
            if not waiting or size + waiting[0].ByteSize() > MAX_TOGETHER_BYTES:
                break
            following = self._pop_one()
            if following is not None:
                size += following.ByteSize()
                packet.MergeFrom(following)
        return packet

    def _pop_one(self) -> RPC | None:
        rpc = super().pop()
        self._bytes -= rpc.ByteSize() if rpc is not None else 0
        return rpc


class _BoundedCache(MessageCache):
    """The messages of the last seconds, for those who ask. When it is full, new ones are not kept."""

    def __init__(self, window_size: int, history_size: int) -> None:
        super().__init__(window_size, history_size)
        self._bytes = 0

    def put(self, msg: Message) -> None:
        if self._bytes + len(msg.data) <= MAX_CACHED_BYTES:
            super().put(msg)
            self._bytes += len(msg.data)

    def shift(self) -> None:
        super().shift()
        self._bytes = sum(len(message.data) for message in self.msgs.values())
