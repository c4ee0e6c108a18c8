"""Rivals: others' bids that are about to take the same slots, and where that leaves one's own bid.

Whoever bids knows most of what the others know: the same offers, and the bids that were gossiped. So all of them play
the auction through in one order, each bid taking its best offer, and each asks first for the offer that falls to
itself. They then ask different providers, and get what they ask for. Earlier bids have chosen already and go first;
among those of one moment, who cannot know what the others do, the hash of the bid's id decides.

Nothing here binds anybody: a provider gives its slots to the first valid award, and whoever plays by other rules only
loses the race more often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from market.ask import Ask, JobFacts
from market.errors import InvalidRequest
from market.feasibility import Limits
from market.offer_book import OfferBook
from market.offer_index import OfferIndex
from market.offer_row import Query, Row, fits
from market.records import Bid
from market.signing import Verified, digest
from market.strategies import weights_of

FEW = 5
"""So many rivals are left out of account: the best offer is nearly always still there."""
MOMENT_MS = 500
"""Bids made within the same half second count as made at once. Longer than gossip takes."""
MAX_RIVALS = 512
"""More are not played through: it would take tens of milliseconds for a hint."""
MAX_OF_ONE = 32
"""Bids of one requester that are counted with: a node that wants more at a time is its own rival first."""
_ANY_PRICE = 10**15
_UNKNOWN_MS = 86_400_000
"""Length of a job that nobody knows: long enough for the price to count for more than what it costs once."""

Turn = tuple[int, bytes]
"""The moment of a bid and the hash of its id: the smallest goes first."""
Rival = tuple[Turn, Query]
"""Whose turn, and what it asks for."""


def turn_of(bid: Bid | Ask) -> Turn:
    """When it is a bid's turn. Its author could date it back or look for an id with a small hash: that is a place in a
    list of guesses, and no claim to any slot."""
    return bid.issued_at // MOMENT_MS, lot_of(bid.bid_id)


def lot_of(bid_id: bytes) -> bytes:
    """What decides between bids of one moment."""
    return digest(b"computefabric/rivals/1\0", bid_id)


def public_ask(bid: Bid, limits: Limits) -> Ask:
    """What a bid asks for, as far as others can see: no price cap, no lists, no word about the network's distance. Only
    that nobody buys from itself is certain.

    Args:
        bid: a rival's.
        limits: one's own; the escrow is taken from it, because those who pay elsewhere are no rivals.

    Raises:
        InvalidRequest: the strategy is one that is not known here.
    """
    cost, speed, reliability, _ = weights_of(bid.strategy, bid.weights)
    return Ask(
        bid_id=bid.bid_id,
        requirements=bid.requirements,
        weights=(cost, speed, reliability, 0),
        limits=Limits(max_price=_ANY_PRICE, chain_id=limits.chain_id, escrow=limits.escrow, deny=(bid.requester,)),
        job=JobFacts(max_ms=_UNKNOWN_MS),
    )


def compile_rivals(book: OfferBook, ask: Ask, bids: Iterable[Verified[Bid]], now: int) -> list[Rival]:
    """The rivals of an ask as queries on a book, in the order in which they are played through.

    Of two bids with one id only one counts, and one's own is no rival. Those after the first :data:`MAX_RIVALS` are
    left out.
    """
    alone = {bid.record.bid_id: bid for bid in sorted(bids, key=lambda bid: bid.id)}
    alone.pop(ask.bid_id, None)
    found: list[Rival] = []
    of_one: Counter[bytes] = Counter()
    going: dict[tuple[str, ...], int] = {}
    for bid in sorted((bid.record for bid in alone.values()), key=turn_of):
        if len(found) == MAX_RIVALS:
            break
        of_one[bid.requester] += 1
        if of_one[bid.requester] > MAX_OF_ONE:
            continue
        try:
            models = bid.requirements.gpus
            if models not in going:
                going[models] = book.going_price(models)
            query = book.compile(public_ask(bid, ask.limits), now, reference=going[models])
        except InvalidRequest:
            continue
        found.append((turn_of(bid), query))
    return found


def touching(rows: Sequence[Row], rivals: Iterable[Rival]) -> int:
    """How many rivals could take one of these rows too."""
    return sum(any(fits(row, query) for row in rows) for _, query in rivals)


def replay(index: OfferIndex, mine: Query, turn: Turn, rivals: Iterable[Rival], count: int) -> list[tuple[int, int]]:
    """Play all bids through on an index: the offer that falls to mine, then the best ``count`` that all of them leave.

    The index is afterwards as it was, also when this raises.

    Args:
        index: the offers, with the slots that are free now.
        mine, turn: one's own bid.
        rivals: the others, each with a turn of its own, in any order.
        count: length of the list after the first place.

    Returns:
        Score and handle as from ``index.top``. Empty when the others leave nothing.
    """
    ordered = sorted(rivals, key=lambda rival: rival[0])
    taken: list[tuple[int, int]] = []
    try:
        _play(index, (query for one, query in ordered if one < turn), taken)
        best = index.top(mine, 1)
        if best and index.take(best[0][1], mine.slots):
            taken.append((best[0][1], mine.slots))
        _play(index, (query for one, query in ordered if one >= turn), taken)
        return best + [one for one in index.top(mine, count) if one[1] != best[0][1]]
    finally:
        for handle, slots in reversed(taken):
            index.give(handle, slots)


def _play(index: OfferIndex, queries: Iterable[Query], taken: list[tuple[int, int]]) -> None:
    for query in queries:
        handle = index.match(query)
        if handle >= 0:
            taken.append((handle, query.slots))
