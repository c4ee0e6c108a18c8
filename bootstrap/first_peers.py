"""The peers that a fresh node meets first: its introducers, as written in the configuration. Pure."""

from __future__ import annotations

from bootstrap.peer_address import PeerAddress, parse_address
from market.errors import InvalidRequest

MAX_INTRODUCERS = 32


def parse_introducers(texts: tuple[str, ...]) -> tuple[PeerAddress, ...]:
    """Read the introducer addresses. Each must say whom to expect: otherwise whoever answers there is believed.

    Raises:
        InvalidRequest: an address is malformed or names no peer, or there are too many.
    """
    if len(texts) > MAX_INTRODUCERS:
        raise InvalidRequest(
            f"{len(texts)} introducers are more than the {MAX_INTRODUCERS} that make sense",
            code="too_many_introducers",
            fix="keep the ones closest to you; the rest are found through them",
        )
    addresses = tuple(parse_address(text) for text in texts)
    for text, address in zip(texts, addresses, strict=True):
        if not address.port:
            raise InvalidRequest(
                f"the introducer {text} has port 0, which stands for a free one chosen at its start",
                code="bad_address",
                fix="name its real port: 'cfab status' shows the whole address where it runs",
            )
        if address.key is None:
            raise InvalidRequest(
                f"the introducer {text} does not name its peer",
                code="introducer_without_peer",
                fix="append /p2p/ and its peer id; the introducer prints the whole address when it starts",
            )
    return addresses
