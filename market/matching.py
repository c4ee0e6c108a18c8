"""The auction: from the offers a node knows, the ranked list of those that fit. Same inputs, same list, everywhere.

Scores are integers and the smallest wins. Equal scores are ordered by a hash of offer and bid (so that no provider
wins every tie) and then by offer id. At most one candidate per provider, and two per network prefix: a single
owner posing as many must not fill the whole list (DESIGN §3.3).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from market import money
from market.feasibility import Candidate, Limits, is_feasible
from market.offer_book import OfferBook
from market.records import Bid, Offer
from market.signing import Verified, digest

MAX_SHORTLIST = 16
MAX_PER_PREFIX = 2
STRATEGIES = ("lowest_cost",)
_IP4 = re.compile(r"^/ip4/(\d+\.\d+\.\d+)\.\d+/")
_PRIVATE = re.compile(r"(127|10|192\.168|172\.(1[6-9]|2\d|3[01]))\.")


class Match(Struct, frozen=True, kw_only=True):
    """One line of the shortlist. ``expected_cost`` is in token units for the whole of the job's maximum duration."""

    offer: Verified[Offer]
    score: int
    expected_cost: int


class Shortlist(Struct, frozen=True, kw_only=True):
    """The outcome of one auction. ``transcript`` commits to every live offer it was chosen from."""

    matches: tuple[Match, ...]
    considered: int
    transcript: bytes


def shortlist(
    book: OfferBook, bid: Bid, limits: Limits, *, now: int, max_duration_ms: int, size: int = MAX_SHORTLIST
) -> Shortlist:
    """Rank the feasible offers for a bid, best first.

    Args:
        book: the offers this node knows.
        bid: what is asked for; its id breaks ties.
        limits: the requester's private limits.
        now: UTC milliseconds; offers past their time do not take part.
        max_duration_ms: how long the job may run, for the expected cost.
        size: length of the list at most.
    """
    live = sorted(book.live(now), key=lambda offer: offer.id)
    fitting = [
        offer
        for offer in live
        if is_feasible(
            Candidate(offer=offer.record, free_slots=book.free_slots(offer.record)), bid.requirements, limits
        )
    ]
    fitting.sort(key=lambda offer: rank(offer, bid))
    matches = tuple(
        Match(
            offer=offer,
            score=rank(offer, bid)[0],
            expected_cost=money.amount_due(offer.record.price, max_duration_ms * bid.requirements.slots),
        )
        for offer in _spread(fitting, size)
    )
    return Shortlist(matches=matches, considered=len(live), transcript=transcript_of(live))


def rank(offer: Verified[Offer], bid: Bid) -> tuple[int, bytes, bytes]:
    """The order of the auction under ``lowest_cost``: price per GPU-second, then the tie-break."""
    return (offer.record.price, digest(offer.id, bid.bid_id), offer.id)


def transcript_of(offers: Iterable[Verified[Offer]]) -> bytes:
    """The digest an award carries: it commits to the set of signed offers, whatever their order."""
    return digest(b"computefabric/transcript/1\0", *sorted(offer.id for offer in offers))


def _spread(ranked: list[Verified[Offer]], size: int) -> list[Verified[Offer]]:
    chosen: list[Verified[Offer]] = []
    providers: set[bytes] = set()
    prefixes: Counter[str] = Counter()
    for offer in ranked:
        if len(chosen) == size:
            break
        prefix = _network_prefix(offer.record)
        if offer.record.provider in providers or (prefix and prefixes[prefix] >= MAX_PER_PREFIX):
            continue
        providers.add(offer.record.provider)
        prefixes[prefix] += 1
        chosen.append(offer)
    return chosen


def _network_prefix(offer: Offer) -> str:
    """The /24 of the first public address. Loopback and private ranges say nothing about who owns a machine."""
    for address in offer.addresses:
        found = _IP4.match(address)
        if found and not _PRIVATE.match(found[1]):
            return found[1]
    return ""
