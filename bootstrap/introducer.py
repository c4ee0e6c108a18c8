"""What an introducer tells whom: a bounded choice of peers, with addresses that can be of use to the one who asks.
Pure.

Every node answers newcomers this way; one that is called an introducer is only well known and always on.
"""

from __future__ import annotations

import ipaddress
import random
from enum import IntEnum

from bootstrap.peer_address import parse_address
from market.errors import InvalidRequest

MAX_INTRODUCED = 32
MAX_ADDRESSES = 8

KnownPeer = tuple[bytes, tuple[str, ...]]
"""A peer's key and addresses."""


class Scope(IntEnum):
    """From how far away an address works."""

    SAME_MACHINE = 0
    SAME_SITE = 1
    ANYWHERE = 2


def choose_peers(known: list[KnownPeer], asker: bytes, luck: random.Random) -> list[KnownPeer]:
    """Up to ``MAX_INTRODUCED`` peers for ``asker``: never itself, none without an address, a different choice each
    time so that newcomers do not all crowd the same ones."""
    useful = [(key, addresses[:MAX_ADDRESSES]) for key, addresses in known if key != asker and addresses]
    return luck.sample(useful, min(len(useful), MAX_INTRODUCED))


def reachable_from(ours: tuple[str, ...], addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Those addresses that a node at ``ours`` may dial on hearsay.

    A node that is reachable from anywhere does not try loopback or private addresses that strangers name: they would
    make it knock at the doors of its own neighbours. Forms that we cannot read are left to the network.
    """
    nearest = min((scope for text in ours if (scope := scope_of(text)) is not None), default=Scope.SAME_MACHINE)
    kept = []
    for text in addresses[:MAX_ADDRESSES]:
        scope = scope_of(text)
        if scope is None or scope >= nearest:
            kept.append(text)
    return tuple(kept)


def scope_of(text: str) -> Scope | None:
    """The scope of an address; ``None`` when it is not an IP or DNS address. Names count as reachable from anywhere."""
    try:
        address = parse_address(text)
    except InvalidRequest:
        return None
    if address.kind.startswith("dns"):
        return Scope.ANYWHERE
    ip = ipaddress.ip_address(address.host)
    if ip.is_loopback:
        return Scope.SAME_MACHINE
    return Scope.ANYWHERE if ip.is_global else Scope.SAME_SITE
