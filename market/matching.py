"""The auction: from the offers a node knows, the ranked list of those that fit. Same inputs, same list, everywhere.

The order is :func:`market.offer_row.rank`. At most one candidate per provider, two per network prefix and eight per
relay: a single owner posing as many must not fill the whole list.
"""

from __future__ import annotations

from collections.abc import Callable

from market import money
from market.ask import Ask
from market.compiler import OVERFLOW
from market.feasibility import Candidate, is_feasible
from market.neighbourhood import neighbourhood
from market.offer_book import OfferBook
from market.offer_row import Cost, Query, Row, expected_cost, expected_ms
from market.records import Offer, Quote
from market.signing import Verified

MAX_SHORTLIST = 16


class Match:
    """One line of the shortlist.

    Attributes:
        offer: whose it is.
        score: by which it was ranked; the smallest is first.
        row, query: what the score was computed from.
        quote: the provider's lower price for this bid, already in ``row``; None where the tag is what is paid.
    """

    __slots__ = ("offer", "query", "quote", "row", "score")

    def __init__(
        self, offer: Verified[Offer], score: int, row: Row, query: Query, quote: Verified[Quote] | None = None
    ) -> None:
        self.offer, self.score, self.row, self.query, self.quote = offer, score, row, query, quote

    @property
    def price(self) -> int:
        """What is paid, nanotokens per GPU-second: the tag, or the quote."""
        return self.row.price

    @property
    def cost(self) -> Cost:
        """The terms of the expected total cost in token units. They add up to :attr:`expected_cost`."""
        exact = expected_cost(self.row, self.query)
        total, compute = (-(-term // money.NANO_MS_PER_UNIT) for term in (exact.total, exact.compute))
        image, transfer, opening = (exact[term] // money.NANO_MS_PER_UNIT for term in (1, 2, 4))
        # What is left over by rounding goes to the vaguest term; computing must not look dearer than what is paid.
        return Cost(compute, image, transfer, total - compute - image - transfer - opening, opening)

    @property
    def expected_cost(self) -> int:
        """Token units the job is expected to cost here, all things counted, rounded up."""
        return self.cost.total

    @property
    def expected_ms(self) -> int:
        """Milliseconds the job is expected to run here."""
        return expected_ms(self.row, self.query)

    @property
    def needed_ms(self) -> int:
        """Milliseconds the job would need here to its end: above ``expected_ms``, it is expected to be cut off."""
        query = self.query
        return query.work_ms * 1000 // self.row.speed if query.paced else query.work_ms

    @property
    def cap(self) -> int:
        """Token units that must be set aside: the price for the job's longest duration."""
        return money.amount_due(self.row.price, self.query.max_ms * self.query.slots)


class Shortlist:
    """The outcome of one look at the book: the matches, best first, and how many offers there were."""

    __slots__ = ("considered", "matches", "query")

    def __init__(self, matches: tuple[Match, ...], considered: int, query: Query) -> None:
        self.matches, self.considered, self.query = matches, considered, query


def shortlist(book: OfferBook, ask: Ask, *, now: int, size: int = MAX_SHORTLIST) -> Shortlist:
    """Rank the feasible offers for an ask, best first.

    Args:
        book: the offers this node knows.
        ask: what is wanted, with the requester's private limits.
        now: UTC milliseconds; offers past their time do not take part.
        size: length of the list at most.
    """
    query = book.compile(ask, now)
    return Shortlist(spread(book, ask, query, lambda count: book.index.top(query, count), size), len(book), query)


def spread(
    book: OfferBook, ask: Ask, query: Query, top: Callable[[int], list[tuple[int, int]]], size: int
) -> tuple[Match, ...]:
    """The first ``size`` of a ranking that may stand in one list together.

    Args:
        book, ask, query: what the ranking was made from.
        top: the best so many ``(score, handle)``; asked again for more while too many of them are one owner's.
        size: length of the list at most.
    """
    count = size
    while size > 0:
        ranked = top(count)
        chosen = _choose(book, ask, query, ranked, size)
        if len(chosen) == size or len(ranked) < count:
            return chosen
        count *= 4
    return ()


def _choose(book: OfferBook, ask: Ask, query: Query, ranked: list[tuple[int, int]], size: int) -> tuple[Match, ...]:
    chosen: list[Match] = []
    providers: set[int] = set()
    crowds: dict[str, int] = {}
    for score, handle in ranked:
        offer, row = book.look_up(handle)
        if row.provider in providers:
            continue
        if row.flags & OVERFLOW and not _fits_by_words(book, offer, ask):
            continue
        crowd, most = neighbourhood(offer.record.addresses)
        # Addresses are only claimed: by naming another's, strangers must not push out somebody we know.
        if crowd:
            so_far = crowds.get(crowd, 0)
            if so_far >= most and not book.known(offer.record.provider).dealt:
                continue
            crowds[crowd] = so_far + 1
        providers.add(row.provider)
        chosen.append(Match(offer, score, row, query))
        if len(chosen) == size:
            break
    return tuple(chosen)


def candidate_of(book: OfferBook, offer: Verified[Offer]) -> Candidate:
    """An offer with what the book knows of it, as the rules of feasibility read it."""
    known = book.known(offer.record.provider)
    return Candidate(
        offer=offer.record,
        free_slots=book.free_slots(offer.record),
        reputation=known.reputation,
        rtt_us=known.rtt_us,
    )


def _fits_by_words(book: OfferBook, offer: Verified[Offer], ask: Ask) -> bool:
    return is_feasible(candidate_of(book, offer), ask.requirements, ask.limits)
