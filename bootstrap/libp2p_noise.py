"""Noise for libp2p hosts: the library's handshake, then a transport phase that is several times faster.

The library reads each packet with two small reads and writes each with one write. Here one read yields many packets
and one write carries many, which is where most of the time of a bulk transfer went. The bytes on the wire are the
same. A packet that was tampered with ends the connection.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.crypto.keys import KeyPair
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.security.noise.io import BaseNoiseMsgReadWriter
from libp2p.security.noise.transport import PROTOCOL_ID, Transport

__all__ = ["PROTOCOL_ID", "HardenedNoise"]

_MAX_PLAIN = 65535 - 16
_READ = 256 * 1024


class HardenedNoise(Transport):
    """The only security we offer or accept: plaintext, which proves nothing, is never negotiated."""

    def __init__(self, key_pair: KeyPair) -> None:
        super().__init__(key_pair, noise_privkey=create_new_key_pair().private_key)

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        return _with_fast_packets(await super().secure_inbound(conn))

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        return _with_fast_packets(await super().secure_outbound(conn, peer_id))


class _FastPackets(BaseNoiseMsgReadWriter):
    """Noise packets after the handshake. Takes over the keys and counters that the handshake ended with."""

    def __init__(self, connection: IRawConnection, noise_state: Any) -> None:
        super().__init__(connection, noise_state)
        protocol = noise_state.noise_protocol
        encrypt, decrypt = protocol.cipher_state_encrypt, protocol.cipher_state_decrypt
        self._connection = connection
        self._encryptor, self._sent = ChaCha20Poly1305(encrypt.k), int(encrypt.n)
        self._decryptor, self._received = ChaCha20Poly1305(decrypt.k), int(decrypt.n)
        self._cipher_text = bytearray()

    def encrypt(self, data: bytes | memoryview) -> bytes:
        packet = self._encryptor.encrypt(_nonce(self._sent), data, None)
        self._sent += 1
        return packet

    def decrypt(self, data: bytes | memoryview) -> bytes:
        try:
            plain = self._decryptor.decrypt(_nonce(self._received), data, None)
        except InvalidTag:
            raise ConnectionClosedError("a packet was forged or damaged", transport="noise") from None
        self._received += 1
        return plain

    async def write_msg(self, msg: bytes, prefix_encoded: bool = False) -> None:
        view = memoryview(msg)
        packets = []
        for start in range(0, len(view), _MAX_PLAIN):
            packet = self.encrypt(view[start : start + _MAX_PLAIN])
            packets += [len(packet).to_bytes(2, "big"), packet]
        await self._connection.write(b"".join(packets))

    async def read_msg(self, prefix_encoded: bool = False) -> bytes:
        """The plain text of the next packet that has any; empty at the end."""
        while True:
            if plain := self._next_packet():
                return plain
            more = await self._connection.read(_READ)
            if not more:
                return b""
            self._cipher_text += more

    def _next_packet(self) -> bytes:
        buffer = self._cipher_text
        while len(buffer) >= 2 and len(buffer) >= (end := 2 + int.from_bytes(buffer[:2], "big")):
            with memoryview(buffer) as view:
                plain = self.decrypt(view[2:end])
            del buffer[:end]
            if plain:
                return plain
        return b""


def _with_fast_packets(session: Any) -> ISecureConn:
    packets = session.conn
    session.conn = _FastPackets(packets.read_writer.read_write_closer, packets.noise_state)
    return session  # type: ignore[no-any-return]


def _nonce(counter: int) -> bytes:
    return b"\0\0\0\0" + counter.to_bytes(8, "little")
