"""The handshake is libp2p's, the packets after it are ours: both ends must agree on every byte."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport

from bootstrap.libp2p_noise import HardenedNoise


class PipeConnection:
    """A memory stream with the method names of a raw connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def read(self, count: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(count))

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()


def key_pair(letter: bytes) -> KeyPair:
    private = Ed25519PrivateKey.new(letter * 32)
    return KeyPair(private, private.get_public_key())


def library(letter: bytes) -> Transport:
    return Transport(key_pair(letter), noise_privkey=create_new_key_pair().private_key)


def hardened(letter: bytes) -> Transport:
    return HardenedNoise(key_pair(letter))


async def secured(dialer: Transport, dialed: Transport, expected: ID) -> tuple[Any, Any]:
    near, far = trio.testing.memory_stream_pair()
    ends: dict[str, Any] = {}

    async def dial() -> None:
        connection: Any = PipeConnection(near)
        ends["near"] = await dialer.secure_outbound(connection, expected)

    async def accept() -> None:
        connection: Any = PipeConnection(far)
        ends["far"] = await dialed.secure_inbound(connection)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(accept)
    return ends["near"], ends["far"]


@pytest.mark.parametrize("dialer", [library, hardened])
@pytest.mark.parametrize("dialed", [library, hardened])
async def test_it_speaks_with_the_library_both_ways(dialer: Any, dialed: Any) -> None:
    far_id = ID.from_pubkey(key_pair(b"f").public_key)
    near, far = await secured(dialer(b"n"), dialed(b"f"), far_id)
    assert near.get_remote_peer() == far_id
    assert far.get_remote_peer() == ID.from_pubkey(key_pair(b"n").public_key)
    for sender, receiver in ((near, far), (far, near), (near, far)):
        sent = bytes(range(256)) * 1000
        await sender.write(sent)
        heard = bytearray()
        while len(heard) < len(sent):
            heard += await receiver.read(None)
        assert bytes(heard) == sent


async def test_a_damaged_packet_ends_the_connection() -> None:
    near, far = await secured(hardened(b"n"), hardened(b"f"), ID.from_pubkey(key_pair(b"f").public_key))
    await near.conn._connection.write((20).to_bytes(2, "big") + bytes(20))
    with pytest.raises(ConnectionClosedError):
        await far.read(None)


async def test_the_end_is_told() -> None:
    near, far = await secured(hardened(b"n"), hardened(b"f"), ID.from_pubkey(key_pair(b"f").public_key))
    await near.close()
    with pytest.raises(ConnectionClosedError):
        await far.read(None)
