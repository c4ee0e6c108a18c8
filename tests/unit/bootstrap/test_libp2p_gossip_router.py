"""The bounds that the gossip router keeps."""

from __future__ import annotations

from libp2p.pubsub.pb.rpc_pb2 import RPC, Message
from libp2p.pubsub.rpc_queue import RpcQueue

from bootstrap.libp2p_gossip_router import (
    MAX_CACHED_BYTES,
    MAX_SEEN,
    MAX_WAITING,
    MAX_WAITING_BYTES,
    SEEN_S,
    BoundedQueues,
    HardenedGossipSub,
    SeenNames,
)


def message(number: int, size: int) -> Message:
    return Message(from_id=b"a", seqno=number.to_bytes(8, "big"), data=bytes(size), topicIDs=["t"])


def queue() -> RpcQueue:
    queues = BoundedQueues()
    queues["peer"] = RpcQueue()
    return queues["peer"]


def test_a_burst_waits_in_the_queue() -> None:
    waiting = queue()
    pushed = sum(waiting.push(RPC(publish=[message(number, 10)])) for number in range(2 * MAX_WAITING))
    assert pushed == MAX_WAITING


async def test_the_queue_is_bounded_in_bytes_and_frees_them() -> None:
    waiting = queue()
    big = RPC(publish=[message(1, MAX_WAITING_BYTES // 4)])
    assert [waiting.push(big) for _ in range(5)] == [True, True, True, False, False]
    assert await waiting.pop() == big
    assert waiting.push(big)
    assert not waiting.push(big)


def test_names_are_remembered_for_a_while() -> None:
    seen = SeenNames()
    assert seen.add(b"a", 0.0)
    assert not seen.add(b"a", 1.0)
    assert seen.has(b"a")
    seen.add(b"b", SEEN_S)
    assert seen.has(b"a")
    seen.add(b"c", 2 * SEEN_S)
    assert not seen.has(b"b")
    assert seen.has(b"c")


def test_names_are_bounded_in_number() -> None:
    seen = SeenNames()
    for number in range(MAX_SEEN + 10):
        seen.add(number.to_bytes(4, "big"), 0.0)
    assert not seen.has((9).to_bytes(4, "big"))
    assert seen.has((10).to_bytes(4, "big"))


def test_the_cache_is_bounded_in_bytes() -> None:
    router = HardenedGossipSub()
    size = MAX_CACHED_BYTES // 4
    for number in range(10):
        router.mcache.put(message(number, size))
    assert len(router.mcache.msgs) == 4
    for _ in range(10):
        router.mcache.shift()
    router.mcache.put(message(0, size))
    assert len(router.mcache.msgs) == 1
    assert router.mcache.get(message(0, size).from_id + message(0, size).seqno) is not None
