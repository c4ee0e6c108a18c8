"""What may enter the gossip machinery: one look at every frame and message before the library sees it.

The library keeps what peers make up (topics, back-offs, peer records) and raises on what it cannot parse, which ends
the process. So a frame is reduced to what we know and need, with a bound on each part, and a message must be signed
by the Ed25519 key it names. Sources: libp2p specs, pubsub/README.md and pubsub/gossipsub/gossipsub-v1.1.md.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.protobuf.message import DecodeError
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlMessage, Message

from bootstrap.identity import key_of_multihash

MAX_MESSAGES = 512
MAX_CONTROLS = 64
MAX_NAMES = 500
MAX_SUBSCRIPTIONS = 32
MAX_BACK_OFF_S = 3600
_MAX_SEQUENCE = 16
_SIGNED_PREFIX = b"libp2p-pubsub:"


def parse_frame(body: bytes) -> RPC | None:
    """Decode a frame's body; ``None`` when it is none."""
    try:
        return RPC.FromString(body)
    except DecodeError:
        return None


def author_of(message: Message, max_data: int) -> bytes | None:
    """The key a message claims to be from; ``None`` when its form is not that of a message of ours."""
    is_formed = len(message.topicIDs) == 1 and 0 < len(message.seqno) <= _MAX_SEQUENCE
    return key_of_multihash(message.from_id) if is_formed and len(message.data) <= max_data else None


def is_authentic(message: Message, author: bytes) -> bool:
    """Whether ``author`` signed exactly this message."""
    signed = Message(
        from_id=message.from_id, data=message.data, seqno=message.seqno, topicIDs=message.topicIDs
    ).SerializeToString()
    try:
        Ed25519PublicKey.from_public_bytes(author).verify(message.signature, _SIGNED_PREFIX + signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def bounded_control(control: ControlMessage, topics: frozenset[str]) -> RPC:
    """The part of a control message that we act on: our topics, bounded lists, no peers to dial on hearsay."""
    rpc = RPC()
    for graft in control.graft[:MAX_CONTROLS]:
        if graft.topicID in topics:
            rpc.control.graft.add(topicID=graft.topicID)
    for prune in control.prune[:MAX_CONTROLS]:
        if prune.topicID in topics:
            rpc.control.prune.add(topicID=prune.topicID, backoff=min(prune.backoff, MAX_BACK_OFF_S))
    for ihave in control.ihave[:MAX_CONTROLS]:
        if ihave.topicID in topics:
            rpc.control.ihave.add(topicID=ihave.topicID, messageIDs=ihave.messageIDs[:MAX_NAMES])
    wanted = [name for iwant in control.iwant[:MAX_CONTROLS] for name in iwant.messageIDs[:MAX_NAMES]]
    if wanted:
        rpc.control.iwant.add(messageIDs=list(dict.fromkeys(wanted))[:MAX_NAMES])
    return rpc
