"""Counting with rivals, for all bids of an epoch at once: what :mod:`market.rivals` and :mod:`market.decision` do for
one, played through once for each requester instead of once for each of its bids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from market.matching import MAX_SHORTLIST
from market.money import MAX_PRICE
from market.offer_row import Query, Row, fits
from market.rivals import FEW, lot_of

UNKNOWN_MS = 86_400_000
"""Length of a job that nobody knows."""


class Picture(Protocol):
    """What is used of an index here; see :class:`market.offer_index.OfferIndex`."""

    def give(self, handle: int, slots: int) -> None: ...
    def top(self, query: Query, count: int) -> list[tuple[int, int]]: ...
    def match_all(self, queries: Sequence[Query]) -> list[int]: ...


class Burst(NamedTuple):
    """All bids of an epoch: who made each, and the handles it would ask if it counted with nobody; ``rows`` are the
    machines, at the place that their handle says, with the free slots that all see."""

    rows: Sequence[Row]
    bids: Sequence[Query]
    owners: Sequence[int]
    wishes: Sequence[list[int]]


def overheard(query: Query) -> Query:
    """A bid as a rival counts with it, who was told neither cap nor job (:func:`market.rivals.public_ask`)."""
    return query._replace(
        max_price=MAX_PRICE,
        max_rtt_us=0,
        allow=None,
        deny=frozenset(),
        work_ms=UNKNOWN_MS,
        paced=False,
        max_ms=UNKNOWN_MS,
        image_mib=0,
        moved_mib=0,
        waiting=query.reference,
        w_latency=0,
    )


def turn(query: Query) -> bytes:
    """What decides whose turn it is, all of them being bid at one moment."""
    return lot_of(query.tie.to_bytes(8, "big"))


def wishes_among_rivals(view: Picture, burst: Burst, hears: Callable[[], bool]) -> list[list[int]]:
    """The handles each bid asks, best first.

    A requester plays out its own bids and those it heard of: a bid's first wish is what is best when its turn comes,
    the next are what is left when all had theirs, the last what there is if the rivals do not come.

    Args:
        view: the picture everybody has; afterwards as it was.
        burst: the bids.
        hears: asked for every requester and every bid of another whether it heard of it in time.
    """
    order = sorted(range(len(burst.bids)), key=lambda place: turn(burst.bids[place]))
    public = [overheard(query) for query in burst.bids]
    wishes = list(burst.wishes)
    for requester in sorted(set(burst.owners)):
        heard = [place for place in order if burst.owners[place] == requester or hears()]
        asks = [(burst.bids if burst.owners[place] == requester else public)[place] for place in heard]
        taken = view.match_all(asks)
        for place, first in zip(heard, taken, strict=True):
            plain = burst.wishes[place]
            if burst.owners[place] != requester or not plain:
                continue
            rows = [burst.rows[handle] for handle in plain]
            if _is_contested(rows, (public[other] for other in heard if other != place)):
                left = [handle for _, handle in view.top(burst.bids[place], MAX_SHORTLIST)]
                wishes[place] = list(dict.fromkeys([*([first] if first >= 0 else []), *left, *plain]))
        undo(view, asks, taken)
    return wishes


def undo(view: Picture, queries: Sequence[Query], taken: Sequence[int]) -> None:
    """Give back what ``match_all`` took."""
    for query, handle in zip(queries, taken, strict=True):
        if handle >= 0:
            view.give(handle, query.slots)


def _is_contested(rows: Sequence[Row], rivals: Iterable[Query]) -> bool:
    """Whether more than a few rivals could take one of these machines too."""
    count = 0
    for rival in rivals:
        count += any(fits(row, rival) for row in rows)
        if count > FEW:
            return True
    return False
