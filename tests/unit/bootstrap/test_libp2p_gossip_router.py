"""The bounds that the gossip router keeps."""

from __future__ import annotations

from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlGraft, ControlMessage, Message
from libp2p.pubsub.rpc_queue import RpcQueue

from bootstrap.libp2p_gossip_router import (
    MAX_CACHED_BYTES,
    MAX_SEEN,
    MAX_TOGETHER,
    MAX_TOGETHER_BYTES,
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


async def test_what_waits_travels_together_in_order() -> None:
    waiting = queue()
    for number in range(MAX_TOGETHER + 2):
        waiting.push(RPC(publish=[message(number, 10)]))
    waiting.push(RPC(control=ControlMessage(graft=[ControlGraft(topicID="t")])), priority=True)
    first, second = await waiting.pop(), await waiting.pop()
    assert [graft.topicID for graft in first.control.graft] == ["t"]
    heard = [int.from_bytes(one.seqno, "big") for one in (*first.publish, *second.publish)]
    assert heard == list(range(MAX_TOGETHER + 2))
    assert len(first.publish) == MAX_TOGETHER - 1
    assert len(waiting) == 0


async def test_what_waits_does_not_become_larger_than_peers_take() -> None:
    waiting = queue()
    for number in range(8):
        waiting.push(RPC(publish=[message(number, MAX_TOGETHER_BYTES // 3)]))
    packets = [await waiting.pop() for _ in range(4)]
    assert [len(packet.publish) for packet in packets] == [2, 2, 2, 2]
    assert all(packet.ByteSize() <= MAX_TOGETHER_BYTES for packet in packets)


async def test_the_bytes_of_what_travelled_together_are_free_again() -> None:
    waiting = queue()
    size = MAX_WAITING_BYTES // 100
    for _ in range(3):
        pushed = sum(waiting.push(RPC(publish=[message(number, size)])) for number in range(200))
        assert 90 <= pushed <= 100
        while len(waiting):
            await waiting.pop()


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
