"""Noise: from a socket to an encrypted channel whose other end has proved which Ed25519 key it holds.

The XX handshake and the identity proof are libp2p's. The transport phase is ours: it takes many packets from
one read and puts many into one write, which is what makes bulk transfer several times faster. There is no
other security: a peer that offers plaintext or TLS is refused.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.x25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.security.noise.patterns import PatternXX

from bootstrap.channel import Buffered, Channel, ChannelBroken
from bootstrap.identity import key_of_multihash, multihash_of

PROTOCOL = "/noise"
_MAX_PLAIN = 65535 - 16
_READ = 256 * 1024


class NoiseIdentity:
    """Our key in the form the handshake needs. One per process: it holds a Diffie-Hellman key of its own."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.new(seed)
        self._id = ID.from_pubkey(self._key.get_public_key())
        self._exchange_key = create_new_key_pair().private_key

    def handshake(self) -> PatternXX:
        """A fresh handshake. Signing our exchange key again each time is what the library does."""
        return PatternXX(self._id, self._key, self._exchange_key)


class NoiseChannel:
    """The encrypted channel. A packet that was tampered with breaks it."""

    def __init__(self, channel: Channel, peer: bytes, ciphers: tuple[ChaCha20Poly1305, ChaCha20Poly1305]) -> None:
        self.peer = peer
        self._channel = channel
        self._encryptor, self._decryptor = ciphers
        self._sent = self._received = 0
        self._cipher_text = bytearray()

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        packets = []
        for start in range(0, len(view), _MAX_PLAIN):
            packet = self._encryptor.encrypt(_nonce(self._sent), view[start : start + _MAX_PLAIN], None)
            self._sent += 1
            packets += [len(packet).to_bytes(2, "big"), packet]
        await self._channel.send(b"".join(packets))

    async def receive(self, max_bytes: int = _READ) -> bytes:
        """The plain text of the next packet, whatever ``max_bytes`` says: at most 64 KiB; empty at the
        end."""
        while True:
            if (plain := self._next_packet()) is not None:
                if plain:
                    return plain
                continue
            more = await self._channel.receive(_READ)
            if not more:
                return b""
            self._cipher_text += more

    async def aclose(self) -> None:
        await self._channel.aclose()

    def _next_packet(self) -> bytes | None:
        buffer = self._cipher_text
        end = 2 + int.from_bytes(buffer[:2], "big")
        if len(buffer) < 2 or len(buffer) < end:
            return None
        try:
            with memoryview(buffer) as view:
                plain = self._decryptor.decrypt(_nonce(self._received), view[2:end], None)
        except InvalidTag:
            raise ChannelBroken("a packet was forged or damaged") from None
        self._received += 1
        del buffer[:end]
        return plain


async def secure(channel: Buffered, identity: NoiseIdentity, *, expected: bytes | None) -> NoiseChannel:
    """Run the handshake: as the dialer when we know whom we ``expect``, otherwise as the one that was dialed.

    Raises:
        ChannelBroken: it failed, the peer is another than expected, or its key is not Ed25519.
    """
    connection = _HandshakeConnection(channel)
    pattern = identity.handshake()
    try:
        if expected is None:
            session = await pattern.handshake_inbound(connection)  # type: ignore[arg-type]
        else:
            # type: ignore[arg-type]
            session = await pattern.handshake_outbound(connection, ID(multihash_of(expected)))
        peer = key_of_multihash(session.get_remote_peer().to_bytes())
    except ChannelBroken:
        raise
    except Exception as error:  # noqa: BLE001 - hostile bytes make the library raise almost anything
        raise ChannelBroken(f"the handshake failed: {type(error).__name__}") from None
    if peer is None:
        raise ChannelBroken("the peer's key is not Ed25519")
    protocol = session.conn.noise_state.noise_protocol  # type: ignore[attr-defined]
    encrypt, decrypt = protocol.cipher_state_encrypt, protocol.cipher_state_decrypt
    return NoiseChannel(channel, peer, (ChaCha20Poly1305(encrypt.k), ChaCha20Poly1305(decrypt.k)))


class _HandshakeConnection:
    """A channel with the method names that the library's handshake calls."""

    def __init__(self, channel: Buffered) -> None:
        self._channel = channel

    async def read(self, count: int | None = None) -> bytes:
        return await self._channel.receive_exactly(count) if count else b""

    async def write(self, data: bytes) -> None:
        await self._channel.send(data)

    async def close(self) -> None:
        await self._channel.aclose()


def _nonce(counter: int) -> bytes:
    return b"\0\0\0\0" + counter.to_bytes(8, "little")
