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
    return Shortlist(spread(book, ask, query, book.index.top, size), len(book), query)


def spread(
    book: OfferBook, ask: Ask, query: Query, top: Callable[[Query, int], list[tuple[int, int]]], size: int
) -> tuple[Match, ...]:
    """The first ``size`` of a ranking that may stand in one list together.

    Args:
        book, ask, query: what the ranking was made from.
        top: the best so many ``(score, handle)`` for a query. Asked again without those who cannot come on the list any
            more, and for more while that leaves nobody out: strangers must not make a list long to find.
        size: length of the list at most.
    """
    places = _Places(book, ask, query, size)
    narrowed, count, seen = query, size, 0
    while size > 0:
        ranked = top(narrowed, count)
        chosen = len(places.matches)
        places.fill(ranked[seen:])
        if len(places.matches) == size or len(ranked) < count:
            break
        if len(places.matches) > chosen:
            narrowed, seen = query._replace(deny=query.deny | places.settled()), 0
        else:
            seen, count = count, 4 * count
    return tuple(places.matches)


class _Places:
    """A list that is being filled, and who has had a place on it. What was passed over once is so for good."""

    __slots__ = ("_ask", "_book", "_crowds", "_full", "_providers", "_query", "_size", "matches")

    def __init__(self, book: OfferBook, ask: Ask, query: Query, size: int) -> None:
        self._book, self._ask, self._query, self._size = book, ask, query, size
        self._providers: set[int] = set()
        self._crowds: dict[str, int] = {}
        self._full: set[str] = set()
        self.matches: list[Match] = []

    def fill(self, ranked: list[tuple[int, int]]) -> None:
        """Take the best of a ranking that may stand beside those who are here already."""
        book, providers, crowds = self._book, self._providers, self._crowds
        for score, handle in ranked:
            if len(self.matches) == self._size:
                return
            offer, row = book.look_up(handle)
            if row.provider in providers or (row.flags & OVERFLOW and not _fits_by_words(book, offer, self._ask)):
                continue
            crowd, most = neighbourhood(offer.record.addresses)
            # Addresses are only claimed: by naming another's, strangers must not push out somebody we know.
            if crowd:
                so_far = crowds.get(crowd, 0) + 1
                if so_far > most and not book.known(offer.record.provider).dealt:
                    continue
                crowds[crowd] = so_far
                if so_far >= most:
                    self._full.add(crowd)
            providers.add(row.provider)
            self.matches.append(Match(offer, score, row, self._query))

    def settled(self) -> set[int]:
        """Providers that need not be looked at again."""
        return self._providers.union(*map(self._book.strangers_only_in, self._full))


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
