"""What all auctions of a node are held with: its book, the bids heard and posted, and the asking of providers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct

from market.ask import Ask
from market.explain import WhyNot, why_not
from market.matching import Match, Shortlist
from market.offer_book import OfferBook
from market.records import Award, Bid, Lease, Offer, Refusal, RefusalReason
from market.signing import Signer, Verified, spec_hash
from market.transcript import AwardFile, Try
from node.awarding import Answer, Awarding
from node.bid_poster import BidPoster
from node.offer_intake import OfferIntake
from node.ports import Clock, Network
from node.purchase import Purchase, Purse
from node.rival_bids import RivalBids

_BID_TTL_MS = 60_000


class Outcome(Struct, frozen=True, kw_only=True):
    """The end of one auction: a lease, or why there is none. ``file`` proves how its provider was chosen."""

    lease: Verified[Lease] | None
    match: Match | None = None
    shortlist: Shortlist
    why_not: WhyNot
    file: AwardFile | None = None


Tell = Callable[[str, dict[str, Any]], Awaitable[None]]
"""``tell(event, detail)``: show the job's owner what happened."""

Heard = Callable[[Award, Answer], Awaitable[None]]
"""``heard(award, answer)``: told of every answer, so that providers are known by how they keep their word."""


class AuctionHall:
    """Shared by all auctions of a node.

    Attributes:
        rivals: bids of others, and of our own other auctions.
        poster: tells the market of our bids.
        awarding: asks providers, and calls back what is not wanted any more.
    """

    def __init__(
        self,
        *,
        signer: Signer,
        network: Network,
        intake: OfferIntake,
        clock: Clock,
        rng: random.Random,
        purse: Purse,
        prove_lane: Callable[[bytes, bytes], bytes],
        heard: Heard | None = None,
    ) -> None:
        self.signer = signer
        self.network = network
        self.intake = intake
        self.clock = clock
        self.rng = rng
        self.rivals = RivalBids(intake, clock)
        self.poster = BidPoster(network)
        self.awarding = Awarding(signer=signer, network=network, clock=clock, purse=purse, prove_lane=prove_lane)
        self._heard = heard

    @property
    def book(self) -> OfferBook:
        """The offers this node knows."""
        return self.intake.book

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Publish bids, and call lost awards back, while the block runs."""
        async with trio.open_nursery() as nursery, self.awarding.working():
            nursery.start_soon(self.poster.post_forever)
            yield
            nursery.cancel_scope.cancel()

    def draw_bid(self, purchase: Purchase, bid_id: bytes = b"") -> Verified[Bid]:
        """A fresh bid. It commits to the spec and shows neither price cap, image nor command."""
        now = self.clock.now_ms()
        return self.signer.sign(
            Bid(
                requester=self.signer.key,
                bid_id=bid_id or self.rng.randbytes(16),
                requirements=purchase.spec.requirements,
                strategy=purchase.strategy,
                weights=purchase.weights,
                spec_hash=spec_hash(purchase.spec, purchase.salt),
                issued_at=now,
                expires_at=now + _BID_TTL_MS,
            )
        )

    async def ask(
        self, match: Match, bid: Bid, purchase: Purchase, transcript: bytes
    ) -> tuple[Verified[Award], Answer]:
        """Award a bid to an offer. ``transcript`` is the digest of what it was chosen by."""
        award = self.awarding.sign(match, bid, purchase, transcript)
        answer = await self.awarding.ask(award, match, purchase)
        if self._heard is not None:
            await self._heard(award.record, answer)
        return award, answer

    def learn(self, match: Match, answer: Answer) -> Try:
        """Correct the book by a refusal; returns what is written down of it."""
        if answer.refusal is not None:
            self.book.learn(answer.refusal.record, match.offer.record.machine)
            return Try(offer_id=match.offer.id, refusal=answer.refusal.raw)
        return Try(offer_id=match.offer.id, word=answer.word[:64])

    def why_not(self, ask: Ask, purchase: Purchase) -> WhyNot:
        """Why the other offers do not fit."""
        return why_not(self.book, ask, self.clock.now_ms(), without=self.signer.key, resting=purchase.resting)


def is_still_there(book: OfferBook, match: Match) -> bool:
    """Whether the machine of a match has enough free slots as far as this book knows now."""
    return _newest(book, match) is not None and book.row_at(match.row.handle).free >= match.query.slots


def note_slots(book: OfferBook, match: Match, bid: Bid) -> None:
    """Our own next auction must know that these slots are ours, before their provider has said so to everybody."""
    offer = _newest(book, match)
    if offer is None or bid.bid_id[:8] in offer.granted:
        return
    left = max(0, book.row_at(match.row.handle).free - match.query.slots)
    reason = RefusalReason.NO_CAPACITY
    said = Refusal(
        provider=offer.provider,
        bid_id=bid.bid_id,
        reason=reason,
        free_slots=left,
        version=offer.version,
        price=offer.price,
    )
    book.learn(said, offer.machine)


def _newest(book: OfferBook, match: Match) -> Offer | None:
    try:
        offer = book.offer_at(match.row.handle).record
    except LookupError:
        return None
    was = match.offer.record
    return offer if (offer.provider, offer.machine) == (was.provider, was.machine) else None
