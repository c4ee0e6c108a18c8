"""The one function that decides an auction. The requester calls it to choose, everybody else to check that choice.

Three things shape the list of :func:`market.matching.shortlist`: rivals' bids that are about to take the same slots
(:mod:`market.rivals`), quotes in hand that are below the tag, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from market.ask import Ask
from market.matching import MAX_SHORTLIST, Match, Shortlist, spread
from market.offer_book import OfferBook
from market.offer_row import Query, rank
from market.records import Bid, Offer, Quote
from market.rivals import FEW, Rival, compile_rivals, replay, touching, turn_of
from market.signing import Verified

MAX_OFFERS = 8192
MAX_OFFER_BYTES = 7 * 1024 * 1024
"""A market with more offers, or with larger ones, is not written down whole (:mod:`market.transcript`)."""
_BESIDE = 128
"""What is written beside an offer, bytes at most."""


class Decision(Shortlist):
    """The list an award is chosen from. ``is_left_out``: rivals are expected to take everything that fits, and the list
    is what there is if they do not come."""

    __slots__ = ("is_left_out",)

    def __init__(self, matches: tuple[Match, ...], considered: int, query: Query, *, is_left_out: bool) -> None:
        super().__init__(matches, considered, query)
        self.is_left_out = is_left_out


def can_be_written(book: OfferBook, now: int) -> bool:
    """Whether everything that is live can be shown to whoever wants to check a choice."""
    sizes = [written_size(offer) for offer in book.live(now)]
    return len(sizes) <= MAX_OFFERS and sum(sizes) <= MAX_OFFER_BYTES


def written_size(offer: Verified[Offer]) -> int:
    """Bytes that an offer takes in a transcript, about."""
    return len(offer.raw) + _BESIDE


MOST_DISPLACED = 150
"""Percent of the best score up to which one gives way to rivals. Bids cost nothing to invent: without a bound, whoever
floods the market with them would push everybody down to the dearest offers. Beyond it, the race for the best is run: to
lose it costs a round trip."""


def decide(
    book: OfferBook,
    ask: Ask,
    *,
    now: int,
    rivals: Sequence[Verified[Bid]] = (),
    quotes: Sequence[Verified[Quote]] = (),
    reference: int | None = None,
    size: int = MAX_SHORTLIST,
) -> Decision:
    """The ranked list an award is chosen from, best first.

    Args:
        book: the offers known.
        ask: what is wanted, with the requester's private limits.
        now: UTC milliseconds.
        rivals: live bids of others that are counted with, unless the market is too large to be written down whole:
            nobody could then see what they would take.
        quotes: signed quotes in hand; those that do not belong to an offer of the list change nothing.
        reference: the going price, when it is not to be taken from this book.
        size: length of the list at most.
    """
    query = book.compile(ask, now)
    if reference is not None:
        waiting = reference if ask.job.waiting is None else ask.job.waiting
        query = query._replace(reference=reference, waiting=waiting)
    matches = spread(book, ask, query, book.index.top, size)
    is_left_out = False
    if rivals and can_be_written(book, now):
        matches, is_left_out = _among_rivals(book, ask, matches, compile_rivals(book, ask, rivals, now), size)
    if quotes:
        matches = requote(matches, ask, quotes, now)
    return Decision(matches, len(book), query, is_left_out=is_left_out)


def _among_rivals(
    book: OfferBook, ask: Ask, matches: tuple[Match, ...], rivals: list[Rival], size: int
) -> tuple[tuple[Match, ...], bool]:
    """The list as the rivals leave it, then what there is if they do not come, and whether they leave nothing."""
    if not matches or touching([match.row for match in matches], rivals) <= FEW:
        return matches, False
    query = matches[0].query
    dearest = matches[0].score * MOST_DISPLACED // 100
    left = [one for one in replay(book.index, query, turn_of(ask), rivals, 4 * size) if one[0] <= dearest]
    known = {handle for _, handle in left}

    def ranked(narrowed: Query, count: int) -> list[tuple[int, int]]:
        return left + [one for one in book.index.top(narrowed, count) if one[1] not in known]

    return spread(book, ask, query, ranked, size), not left


def requote(matches: tuple[Match, ...], ask: Ask, quotes: Sequence[Verified[Quote]], now: int) -> tuple[Match, ...]:
    """Rank the list again with the prices quoted. A quote never raises a price: above the tag it is ignored."""
    lowest: dict[bytes, Verified[Quote]] = {}
    for quote in quotes:
        record = quote.record
        if record.bid_id != ask.bid_id or record.expires_at <= now:
            continue
        known = lowest.get(record.offer_id)
        if known is None or (record.price, quote.id) < (known.record.price, known.id):
            lowest[record.offer_id] = quote
    anew = [_at_quote(match, lowest.get(match.offer.id)) for match in matches]
    return tuple(sorted(anew, key=lambda match: rank(match.row, match.query)))


def _at_quote(match: Match, quote: Verified[Quote] | None) -> Match:
    if quote is None or quote.signer != match.offer.signer or quote.record.price >= match.row.price:
        return match
    row = match.row._replace(price=quote.record.price)
    return Match(match.offer, rank(row, match.query)[0], row, match.query, quote)
