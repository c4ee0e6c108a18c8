"""Addresses of peers: ``/ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…``, read strictly. Pure.

Only TCP is spoken, so only ``/ip4``, ``/ip6``, ``/dns``, ``/dns4`` and ``/dns6`` followed by ``/tcp`` are addresses
here; others (QUIC, relays) are refused by name. Strangers choose these texts, and the network library raises on what
it cannot read: nothing may pass here that does not pass there.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from bootstrap.identity import key_of_peer_id, peer_id_of
from market.errors import InvalidRequest

MAX_ADDRESS = 256
_MAX_HOST_NAME = 253
_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""RFC 1123, lower case only: one name, one spelling. Names with "--" in the third place are reserved by RFC 5891; most
of those that say ``xn--`` are encodings of nothing."""
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_SHAPE = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/([0-9]{1,5})(?:/p2p/([^/]+))?")


@dataclass(frozen=True)
class PeerAddress:
    """Where to connect, and whom to expect there.

    Attributes:
        kind: ``"ip4"``, ``"ip6"`` or a ``dns`` kind.
        host: address or name.
        port: TCP port; 0 only when listening.
        key: Ed25519 key of the peer, or ``None`` when the address did not say.
    """

    kind: str
    host: str
    port: int
    key: bytes | None = None

    @property
    def is_unspecified(self) -> bool:
        """Whether it means "every address of this machine": fit to listen on, not to dial."""
        return not self.kind.startswith("dns") and ipaddress.ip_address(self.host).is_unspecified

    def __str__(self) -> str:
        peer = f"/p2p/{peer_id_of(self.key)}" if self.key is not None else ""
        return f"/{self.kind}/{self.host}/tcp/{self.port}{peer}"


def parse_address(text: str) -> PeerAddress:
    """Read an address.

    Raises:
        InvalidRequest: not an address of a kind that we speak.
    """
    match = _SHAPE.fullmatch(text) if len(text) <= MAX_ADDRESS else None
    if match is None:
        raise _invalid(text)
    kind, host, port, peer = match.groups()
    if int(port) > 65535 or not _is_host(kind, host):
        raise _invalid(text)
    return PeerAddress(kind, host, int(port), key_of_peer_id(peer) if peer else None)


def dialable(peer: bytes, texts: tuple[str, ...], *, limit: int) -> tuple[PeerAddress, ...]:
    """Those of the addresses that we can dial to reach ``peer``, at most ``limit``; others are dropped silently,
    since they come from strangers."""
    found: dict[PeerAddress, None] = {}
    for text in texts[: 4 * limit]:
        try:
            address = parse_address(text)
        except InvalidRequest:
            continue
        if address.port and address.key in (None, peer) and not address.is_unspecified:
            found[PeerAddress(address.kind, address.host, address.port, peer)] = None
    return tuple(found)[:limit]


def _is_host(kind: str, host: str) -> bool:
    if kind.startswith("dns"):
        return len(host) <= _MAX_HOST_NAME and _HOST_NAME.fullmatch(host) is not None
    if "%" in host:  # a zone (fe80::1%eth0) means something to its own machine only
        return False
    try:
        return ipaddress.ip_address(host).version == int(kind[2])
    except ValueError:
        return False


def _invalid(text: str) -> InvalidRequest:
    return InvalidRequest(
        f"{text[:80]!a} is not an address of a peer",
        code="bad_address",
        fix="write it like /ip4/203.0.113.7/tcp/4001/p2p/12D3Koo… (TCP only)",
    )
