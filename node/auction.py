"""The buying side's auction: bid, choose among rivals, award, and at a refusal the next best at once.

The provider's tag is what is paid. At most :data:`wire.MAX_AWARD_TRIES` providers are asked before the job is told that
the market moved on. Where many bid for the same at the same time, the auction first waits until it has heard them, and
then asks for what they leave (:mod:`market.rivals`). A job that wants quotes asks the best for a lower price first.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct

from market import codec
from market.ask import Ask
from market.decision import decide
from market.explain import WhyNot, why_not
from market.matching import Match, Shortlist, candidate_of, shortlist
from market.offer_book import OfferBook
from market.records import Award, Bid, Lease, Offer, Quote, Refusal, RefusalReason
from market.signing import Signer, Verified, spec_hash
from market.transcript import AwardFile, Try, record_auction, transcript_digest
from node import wire
from node.awarding import Answer, Awarding
from node.bid_poster import BidPoster
from node.match_view import describe_match, describe_quote
from node.offer_intake import OfferIntake
from node.ports import Clock, Network
from node.purchase import Purchase, Purse
from node.quotes import PATIENCE_S, ask_for_quotes
from node.rival_bids import RivalBids

_BID_TTL_MS = 60_000
_GONE, _TOO_DEAR, _QUOTE_IS_OLD = "gone", "too_dear", "quote_expired"

__all__ = ["Auctioneer", "Outcome", "Purchase", "Purse", "Tell"]


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


class Auctioneer:
    """Holds auctions on this node's own book."""

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
        self._heard = heard
        self._signer = signer
        self._intake = intake
        self._clock = clock
        self._rng = rng
        self._network = network
        self._poster = BidPoster(network)
        self._rivals = RivalBids(intake, clock)
        self._awarding = Awarding(signer=signer, network=network, clock=clock, purse=purse, prove_lane=prove_lane)

    @property
    def key(self) -> bytes:
        """Whose auctions these are."""
        return self._signer.key

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Publish bids, and call lost awards back, while the block runs."""
        async with trio.open_nursery() as nursery, self._awarding.working():
            nursery.start_soon(self._poster.post_forever)
            yield
            nursery.cancel_scope.cancel()

    def draw_bid(self, purchase: Purchase) -> Verified[Bid]:
        """A fresh bid. It commits to the spec and shows neither price cap, image nor command."""
        now = self._clock.now_ms()
        return self._signer.sign(
            Bid(
                requester=self._signer.key,
                bid_id=self._rng.randbytes(16),
                requirements=purchase.spec.requirements,
                strategy=purchase.strategy,
                weights=purchase.weights,
                spec_hash=spec_hash(purchase.spec, purchase.salt),
                issued_at=now,
                expires_at=now + _BID_TTL_MS,
            )
        )

    async def buy(self, purchase: Purchase, tell: Tell) -> Outcome:
        """Hold one auction: announce the bid, then award down the list until somebody signs."""
        bid = self.draw_bid(purchase)
        ask, book = purchase.ask(bid.record), self._intake.book
        found = shortlist(book, ask, now=self._clock.now_ms())
        if not found.matches:
            return Outcome(lease=None, shortlist=found, why_not=self._why_not(purchase))
        with self._rivals.bidding(bid):
            self._poster.post(bid)
            await trio.lowlevel.checkpoint()  # jobs that came together are rivals too
            crowded = self._rivals.are_many(ask, [match.row for match in found.matches])
            if crowded:
                await self._rivals.settle()
            quotes = await self._quotes(bid, ask, crowded=crowded) if purchase.quotes else []
            # From here to the transcript nothing may happen: it says what was known when the choice was made.
            now, rivals = self._clock.now_ms(), self._rivals.still_open(but=bid) if crowded else []
            found = decide(book, ask, now=now, rivals=rivals, quotes=quotes)
            reasons = self._why_not(purchase)
            transcript = codec.pack_record(record_auction(book, bid, ask, now=now, rivals=rivals, quotes=quotes))
            await tell("matching", describe_match(found, reasons, ask))
            for match in found.matches:
                if match.quote is not None:
                    await tell("quoted", describe_quote(match))
            won = await self._go_down(found, bid.record, purchase, transcript, tell)
        if won is None:
            return Outcome(lease=None, shortlist=found, why_not=reasons)
        lease, match, file = won
        return Outcome(lease=lease, match=match, shortlist=found, why_not=reasons, file=file)

    async def _quotes(self, bid: Verified[Bid], ask: Ask, *, crowded: bool) -> list[Verified[Quote]]:
        """What the best would take less for."""
        rivals = self._rivals.still_open(but=bid) if crowded else []
        found = decide(self._intake.book, ask, now=self._clock.now_ms(), rivals=rivals)
        return await ask_for_quotes(self._network, self._clock, bid, found.matches)

    async def _go_down(
        self, found: Shortlist, bid: Bid, purchase: Purchase, transcript: bytes, tell: Tell
    ) -> tuple[Verified[Lease], Match, AwardFile] | None:
        digest = transcript_digest(transcript)
        tries: list[Try] = []
        asked, began = 0, trio.current_time()
        for match in found.matches:
            if (obstacle := self._obstacle(match, purchase, trio.current_time() - began)) is not None:
                tries.append(Try(offer_id=match.offer.id, word=obstacle))
                continue
            if asked == wire.MAX_AWARD_TRIES:
                break
            asked += 1
            award = self._awarding.sign(match, bid, purchase, digest)
            answer = await self._awarding.ask(award, match, purchase)
            if self._heard is not None:
                await self._heard(award.record, answer)
            if answer.lease is not None:
                note_slots(self._intake.book, match, bid)
                file = AwardFile(transcript=transcript, award=award.raw, lease=answer.lease.raw, tries=tuple(tries))
                return answer.lease, match, file
            tries.append(self._learn(match, answer))
            provider = match.offer.record.provider
            await tell("refused", {"provider": provider.hex(), "reason": answer.word, "detail": answer.detail})
        return None

    def _obstacle(self, match: Match, purchase: Purchase, waited_s: float) -> str | None:
        """Why a place of the list is not worth a question any more. The market goes on while others are asked."""
        if match.quote is not None and is_old(match.quote.record, waited_s):
            return _QUOTE_IS_OLD
        if purchase.funds is not None and match.cap > purchase.funds:
            return _TOO_DEAR
        return None if is_still_there(self._intake.book, match) else _GONE

    def _learn(self, match: Match, answer: Answer) -> Try:
        if answer.refusal is not None:
            self._intake.book.learn(answer.refusal.record, match.offer.record.machine)
            return Try(offer_id=match.offer.id, refusal=answer.refusal.raw)
        return Try(offer_id=match.offer.id, word=answer.word[:64])

    def _why_not(self, purchase: Purchase) -> WhyNot:
        book, us = self._intake.book, self._signer.key
        everybody = [candidate_of(book, one) for one in book.live(self._clock.now_ms()) if one.signer != us]
        return why_not(everybody, purchase.spec.requirements, purchase.limits)


def is_old(quote: Quote, waited_s: float) -> bool:
    """Whether its provider would call a quote expired that was decided by so many seconds ago. Clocks run apart: only
    how long it was meant to live can be believed."""
    return 1000 * (waited_s + PATIENCE_S) >= quote.expires_at - quote.issued_at


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
