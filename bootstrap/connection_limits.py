"""How many connections we hold, in all, per peer and per address: one table, and the rule that applies it. Pure.

The numbers per address follow go-libp2p's resource manager. Loopback and private addresses are exempt from them: a
development network or a company's NAT has many nodes behind one address, and an attacker there is a neighbour.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class ConnectionLimits:
    """Attributes:
    total: established connections; above it, no more inbound ones are accepted.
    per_peer: established connections with one key; one more closes the oldest.
    per_address: established inbound connections from one public IPv4 address or IPv6 /56.
    pending: inbound handshakes going on; one more ends the oldest, so silent sockets cannot lock others out.
    pending_per_address: such handshakes from one public address.
    upgrade_s: seconds a handshake may take, from the TCP connection to the multiplexer.
    """

    total: int = 400
    per_peer: int = 3
    per_address: int = 8
    pending: int = 128
    pending_per_address: int = 8
    upgrade_s: float = 10.0


DEFAULT_LIMITS = ConnectionLimits()


class AddressCount:
    """How many of something each public address holds, against a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()

    def take(self, host: str) -> bool:
        """Count one more from ``host``; ``False``, and nothing counted, when it holds its share already."""
        network = public_network(host)
        if network is None:
            return True
        if self._held[network] >= self._limit:
            return False
        self._held[network] += 1
        return True

    def release(self, host: str) -> None:
        """Count one less. Only after :meth:`take` said yes."""
        network = public_network(host)
        if network is not None:
            self._held[network] -= 1
            if not self._held[network]:
                del self._held[network]


def public_network(host: str) -> str | None:
    """The network that counts as one address (IPv4 /32, IPv6 /56), or ``None`` for loopback and private ones."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if not address.is_global:
        return None
    prefix = 32 if address.version == 4 else 56
    return str(ipaddress.ip_network((address, prefix), strict=False))
