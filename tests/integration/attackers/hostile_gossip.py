"""Gossip frames that no honest peer sends."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlIHave, ControlIWant, ControlMessage, ControlPrune, Message, PeerInfo

from bootstrap.channel import varint
from bootstrap.identity import key_of_seed, multihash_of
from node.wire import TOPIC_OFFERS
from tests.integration.attackers.hostile_peer import framed

_RSA_LIKE = b"\x12\x20" + b"a" * 32
_SIGNER = b"signer!!" * 4


def signed_message(data: bytes, sequence: int, *, topic: str = TOPIC_OFFERS) -> Message:
    """A message with a valid signature of a key that nobody knows."""
    message = Message(
        from_id=multihash_of(key_of_seed(_SIGNER)), data=data, seqno=sequence.to_bytes(8, "big"), topicIDs=[topic]
    )
    signer = Ed25519PrivateKey.from_private_bytes(_SIGNER)
    message.signature = signer.sign(b"libp2p-pubsub:" + message.SerializeToString())
    return message


def published(message: Message) -> bytes:
    """A frame with one message."""
    return framed(RPC(publish=[message]).SerializeToString())


def subscribed(topic: str) -> bytes:
    """A frame that asks for a topic."""
    return framed(RPC(subscriptions=[RPC.SubOpts(subscribe=True, topicid=topic)]).SerializeToString())


def wanted(name: bytes, times: int) -> bytes:
    """A frame that asks for one message many times."""
    control = ControlMessage(iwant=[ControlIWant(messageIDs=[name] * times)])
    return framed(RPC(control=control).SerializeToString())


def malformed_frames() -> dict[str, bytes]:
    """Each ended the process, or filled it, in the library as shipped."""
    forged = signed_message(b"x", 1)
    forged.signature = b"s" * 64
    prune = ControlPrune(topicID=TOPIC_OFFERS, backoff=2**63)
    prune.peers.append(PeerInfo(peerID=b"zz", signedPeerRecord=b"\xff" * 20))
    names = ControlIHave(topicID=TOPIC_OFFERS, messageIDs=[b"abc", b"\xff", b"zz", b""])
    made_up = [RPC.SubOpts(subscribe=True, topicid=f"topic {number}") for number in range(6000)]
    part = Message(data=b"x", topicIDs=[TOPIC_OFFERS], seqno=b"12345678", signature=b"s" * 64)
    return {
        "not protobuf": framed(b"\xff" * 40),
        "an undecodable key": published(_with(part, from_id=_RSA_LIKE, key=b"\xff\xff\xff")),
        "a key of an unknown type": published(_with(part, from_id=_RSA_LIKE, key=b"\x08\x09\x12\x01a")),
        "no author": published(part),
        "an author that is no curve point": published(_with(part, from_id=multihash_of(bytes(32)))),
        "a forged signature": published(forged),
        "no topic": published(Message(from_id=multihash_of(bytes(32)), data=b"x", seqno=b"1")),
        "a bad sender record": framed(RPC(senderRecord=b"\xff" * 50).SerializeToString()),
        "peers to dial on hearsay": framed(RPC(control=ControlMessage(prune=[prune])).SerializeToString()),
        "names that are none": framed(RPC(control=ControlMessage(ihave=[names])).SerializeToString()),
        "a topic it never joined": framed(
            RPC(subscriptions=[RPC.SubOpts(subscribe=False, topicid="?")]).SerializeToString()
        ),
        "six thousand topics": framed(RPC(subscriptions=made_up).SerializeToString()),
        "a frame of a terabyte": varint(1 << 40),
        "a length without end": b"\xff" * 64,
        "ten thousand empty messages": framed(b"\x12\x00" * 10_000),
    }


def _with(part: Message, **fields: bytes) -> Message:
    message = Message(**fields)
    message.MergeFrom(part)
    return message
