"""Where a machine seems to be: what tells many owners from one who poses as many."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_PER_PREFIX = 2
MAX_PER_RELAY = 8
"""Many homes can be behind one relay, so its address says less about who owns them."""
_IP4 = re.compile(r"^/ip4/(\d+\.\d+\.\d+)\.\d+/")
_IP6 = re.compile(r"^/ip6/([0-9a-f]{1,4}:[0-9a-f]{1,4}:[0-9a-f]{1,4}):", re.IGNORECASE)
_RELAY = re.compile(r"/p2p/([^/]+)/p2p-circuit")
_PRIVATE = re.compile(r"(127|10|192\.168|172\.(1[6-9]|2\d|3[01])|169\.254|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7]))\.")


@lru_cache(maxsize=16_384)
def neighbourhood(addresses: tuple[str, ...]) -> tuple[str, int]:
    """The /24 or /48 of the first public address, or the relay, and how many of one list may be there.

    Empty when nothing is known: loopback and private ranges say nothing about who owns a machine. Kept for the
    addresses asked for last, since the same offers are on every list until they change.
    """
    for address in addresses:
        if (relay := _RELAY.search(address)) is not None:
            return relay[1], MAX_PER_RELAY
        found = _IP4.match(address)
        if found and not _PRIVATE.match(found[1] + "."):
            return found[1], MAX_PER_PREFIX
        six = _IP6.match(address)
        if six and not six[1].lower().startswith(("fc", "fd", "fe8")):
            return six[1].lower(), MAX_PER_PREFIX
    return "", 0
