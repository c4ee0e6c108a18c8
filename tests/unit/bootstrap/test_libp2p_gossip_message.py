"""What may enter the gossip machinery."""

from __future__ import annotations

import pytest
from libp2p.pubsub.pb.rpc_pb2 import RPC, ControlMessage, Message

from bootstrap.identity import key_of_seed, multihash_of
from bootstrap.libp2p_gossip_message import (
    MAX_BACK_OFF_S,
    MAX_CONTROLS,
    MAX_NAMES,
    author_of,
    bounded_control,
    is_authentic,
    parse_frame,
)
from tests.integration.attackers.hostile_gossip import signed_message

AUTHOR = key_of_seed(b"signer!!" * 4)


def test_a_signed_message_is_authentic() -> None:
    message = signed_message(b"data", 7)
    assert author_of(message, 4) == AUTHOR
    assert is_authentic(message, AUTHOR)


@pytest.mark.parametrize(
    ("field", "value"), [("data", b"DATA"), ("seqno", b"8"), ("signature", b"s" * 64), ("signature", b"")]
)
def test_a_changed_message_is_not(field: str, value: bytes) -> None:
    message = signed_message(b"data", 7)
    setattr(message, field, value)
    assert not is_authentic(message, AUTHOR)


def test_a_message_of_another_topic_is_not() -> None:
    message = signed_message(b"data", 7, topic="one")
    message.topicIDs[0] = "two"
    assert not is_authentic(message, AUTHOR)


def test_a_key_that_is_no_curve_point_is_not() -> None:
    assert not is_authentic(signed_message(b"data", 7), b"\xff" * 32)


@pytest.mark.parametrize(
    "message",
    [
        Message(),
        Message(from_id=b"x" * 38, seqno=b"1", topicIDs=["t"]),
        Message(from_id=multihash_of(AUTHOR), topicIDs=["t"]),
        Message(from_id=multihash_of(AUTHOR), seqno=b"1" * 17, topicIDs=["t"]),
        Message(from_id=multihash_of(AUTHOR), seqno=b"1"),
        Message(from_id=multihash_of(AUTHOR), seqno=b"1", topicIDs=["t", "t"]),
        Message(from_id=multihash_of(AUTHOR), seqno=b"1", topicIDs=["t"], data=b"12345"),
    ],
)
def test_forms_that_are_not_ours_have_no_author(message: Message) -> None:
    assert author_of(message, 4) is None


def test_frames_that_do_not_parse() -> None:
    assert parse_frame(b"\xff" * 40) is None
    assert parse_frame(RPC(publish=[Message(data=b"x")]).SerializeToString()) == RPC(publish=[Message(data=b"x")])


def test_control_is_reduced_to_our_topics_and_bounds() -> None:
    control = ControlMessage()
    for number in range(10 * MAX_CONTROLS):
        topic = "ours" if number % 2 else f"theirs {number}"
        control.graft.add(topicID=topic)
        control.prune.add(topicID=topic, backoff=2**63).peers.add(peerID=b"x")
        control.ihave.add(topicID=topic, messageIDs=[b"n"] * 10 * MAX_NAMES)
        control.iwant.add(messageIDs=[b"%d" % number] * 10)
    bounded = bounded_control(control, frozenset({"ours"})).control
    assert {graft.topicID for graft in bounded.graft} == {"ours"}
    assert {prune.topicID for prune in bounded.prune} == {"ours"}
    assert len(bounded.graft) + len(bounded.prune) <= 2 * MAX_CONTROLS
    assert all(prune.backoff == MAX_BACK_OFF_S and not prune.peers for prune in bounded.prune)
    assert all(len(ihave.messageIDs) <= MAX_NAMES for ihave in bounded.ihave)
    names = [name for iwant in bounded.iwant for name in iwant.messageIDs]
    assert 0 < len(names) == len(set(names)) <= MAX_NAMES


def test_control_about_nothing_of_ours_is_nothing() -> None:
    control = ControlMessage()
    control.graft.add(topicID="theirs")
    assert not bounded_control(control, frozenset({"ours"})).HasField("control")
