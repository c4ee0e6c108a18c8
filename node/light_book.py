"""Reads the whole book of one peer, page by page, or only what it has of some providers."""

from __future__ import annotations

from collections.abc import Callable

import trio

from market.errors import PeerFault
from market.records import Offer
from market.signing import Verified
from node import wire
from node.book_digest import BookView, Page, read_page
from node.light_check import Statement
from node.ports import Clock, Network, PeerUnreachable

_MAX_PAGES = 96
"""A book of 100,000 offers, and then some."""
_LATER_S = 1.0
_AT_ONCE = 32


async def read_book(
    network: Network, statement: Statement, clock: Clock, verify: Callable[[bytes], Verified[Offer]], view: BookView
) -> None:
    """Ask a peer for its book and note what it shows.

    Args:
        statement: of the peer; ``complete`` once everything was shown.
        verify: checks an envelope.
        view: what the peer need not show: an empty one asks for the whole book.

    Raises:
        PeerUnreachable: the peer answered nothing at all.
    """
    after = b""
    for _ in range(_MAX_PAGES):
        try:
            page = await _ask(network, statement.peer, view, after)
        except PeerUnreachable:
            if not after:
                raise
            return
        except PeerFault as fault:
            statement.forged[fault.code] += 1
            return
        if page is None:
            await trio.sleep(_LATER_S)  # it has shown us a lot already, and wants a pause
            continue
        for start in range(0, len(page.envelopes), _AT_ONCE):
            statement.hear(
                page.envelopes[start : start + _AT_ONCE], verify, clock.now_ms(), max_skew_ms=wire.MAX_CLOCK_SKEW_MS
            )
            await trio.lowlevel.checkpoint()
        if not page.then:
            statement.complete = True
            return
        after = page.then


async def _ask(network: Network, peer: bytes, view: BookView, after: bytes) -> Page | None:
    answer = await network.request(
        peer,
        wire.PROTOCOL_BOOK,
        view.question(after),
        timeout=wire.REQUEST_TIMEOUT_S,
        max_response=wire.MAX_RESPONSE,
    )
    return read_page(answer, after=after, limit=wire.MAX_RESPONSE)


def without(statement: Statement, providers: frozenset[bytes]) -> BookView:
    """What a peer showed, less the machines of some providers: asked with this, it shows all it has of them, and of the
    rest only what has changed since."""
    return BookView(offer for (provider, _), offer in statement.shown.items() if provider not in providers)
