"""What an allocation is worth, and what none can be worth more than.

A bid's *surplus* is what its requester keeps: cap less price, times slots, in nanotokens per second. The most that all
bids together can keep is a hard problem, so it is bounded from above: charge a shadow price for every slot, let each
bid take what is best for it at these prices as if it were alone, and add what the slots themselves would earn. That is
never less than the best allocation, whatever the shadow prices; they are moved towards where demand meets supply.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from market.offer_row import Query, Row, fits

ROUNDS = 120


def surplus(row: Row, query: Query) -> int:
    """What a requester keeps when its bid gets this machine, nanotokens per second."""
    return (query.max_price - row.price) * query.slots


def worth(rows: Sequence[Row], placed: Iterable[tuple[Query, int]]) -> int:
    """The surplus of an allocation: bids with the handle each got, -1 for none."""
    return sum(surplus(rows[handle], query) for query, handle in placed if handle >= 0)


def at_most(rows: Sequence[Row], queries: Sequence[Query], rounds: int = ROUNDS) -> int:
    """A surplus that no allocation of these bids to the free slots of these machines exceeds."""
    options = _options(rows, queries)
    if not any(options):
        return 0
    prices = [0] * len(rows)
    start = max(gain for option in options for _, gain in option)
    best = 0
    for number in range(rounds):
        bound = sum(price * row.free for price, row in zip(prices, rows, strict=True))
        wanted = [0] * len(rows)
        for query, option in zip(queries, options, strict=True):
            gain, place = max(((gain - prices[place], place) for place, gain in option), default=(0, -1))
            if gain > 0:
                bound += gain * query.slots
                wanted[place] += query.slots
        best = min(best, bound) if number else bound
        step = start * 4 // (8 + number)
        for place, row in enumerate(rows):
            if row.free:
                prices[place] = max(0, prices[place] + step * (wanted[place] - row.free) // (row.free * 8))
    return best


def _options(rows: Sequence[Row], queries: Sequence[Query]) -> list[list[tuple[int, int]]]:
    """For each bid the machines that fit it, with what a slot there leaves it."""
    by_class: dict[int, list[tuple[int, Row]]] = {}
    for place, row in enumerate(rows):
        by_class.setdefault(row.klass, []).append((place, row))
    return [
        [
            (place, query.max_price - row.price)
            for klass in query.classes
            for place, row in by_class.get(klass, ())
            if fits(row, query)
        ]
        for query in queries
    ]
