"""The buying side's auction: bid, choose among rivals, award, and at a refusal the next best at once.

The provider's tag is what is paid. At most :data:`wire.MAX_AWARD_TRIES` providers are asked before the job is told that
the market moved on. Where many bid for the same at the same time, the auction first waits until it has heard them, and
then asks for what they leave (:mod:`market.rivals`). A job that wants quotes asks the best for a lower price first.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from market import codec
from market.ask import Ask
from market.decision import decide
from market.matching import Match, Shortlist, shortlist
from market.records import Bid, Lease, Quote
from market.signing import Signer, Verified
from market.transcript import AwardFile, Try, record_auction, transcript_digest
from node import wire
from node.auction_hall import AuctionHall, Heard, Outcome, Tell, is_still_there, note_slots
from node.match_view import describe_match, describe_quote
from node.offer_intake import OfferIntake
from node.ports import Clock, Network
from node.purchase import Purchase, Purse
from node.quotes import PATIENCE_S, ask_for_quotes

MAKE_WAY_S = 0.75
_GONE, _TOO_DEAR, _QUOTE_IS_OLD = "gone", "too_dear", "quote_expired"

__all__ = ["Auctioneer", "Outcome", "Purchase", "Purse", "Tell"]


class Auctioneer:
    """Holds auctions on this node's own book.

    Attributes:
        quotes_in_vain: whether a provider did not stand by its quotes lately.
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
        quotes_in_vain: Callable[[bytes], bool] = lambda provider: False,
    ) -> None:
        self.quotes_in_vain = quotes_in_vain
        self.hall = AuctionHall(
            signer=signer,
            network=network,
            intake=intake,
            clock=clock,
            rng=rng,
            purse=purse,
            prove_lane=prove_lane,
            heard=heard,
        )

    @property
    def key(self) -> bytes:
        """Whose auctions these are."""
        return self.hall.signer.key

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Publish bids, and call lost awards back, while the block runs."""
        async with self.hall.open():
            yield

    async def buy(self, purchase: Purchase, tell: Tell) -> Outcome:
        """Hold one auction: announce the bid, then award down the list until somebody signs."""
        hall, book = self.hall, self.hall.book
        bid = hall.draw_bid(purchase)
        ask = purchase.ask(bid.record)
        found = shortlist(book, ask, now=hall.clock.now_ms())
        if not found.matches:
            return Outcome(lease=None, shortlist=found, why_not=hall.why_not(ask, purchase))
        with hall.rivals.bidding(bid):
            hall.poster.post(bid)
            await trio.lowlevel.checkpoint()  # jobs that came together are rivals too
            rows = [match.row for match in found.matches]
            crowded = hall.rivals.are_many(ask, rows)
            if crowded:
                await hall.rivals.settle(ask, rows)
            quotes = await self._quotes(bid, ask, crowded=crowded) if purchase.quotes else []
            found, transcript = await self._choose(bid, ask, quotes, crowded=crowded)
            reasons = hall.why_not(ask, purchase)
            await tell("matching", describe_match(found, reasons, ask))
            for match in found.matches:
                if match.quote is not None:
                    await tell("quoted", describe_quote(match))
            won = await self._go_down(found, bid.record, purchase, transcript, tell)
        if won is None:
            return Outcome(lease=None, shortlist=found, why_not=reasons)
        lease, match, file = won
        return Outcome(lease=lease, match=match, shortlist=found, why_not=reasons, file=file)

    async def _choose(
        self, bid: Verified[Bid], ask: Ask, quotes: list[Verified[Quote]], *, crowded: bool
    ) -> tuple[Shortlist, bytes]:
        """Rank the offers by what is known now, and write that down.

        Where rivals are expected to take everything, they are let go first: to ask now would be to take what falls to
        one of them. What they leave after all is on the tags a moment later.
        """
        hall = self.hall
        now, rivals = hall.clock.now_ms(), self._open_rivals(bid, crowded=crowded)
        found = decide(hall.book, ask, now=now, rivals=rivals, quotes=quotes)
        if found.is_left_out:
            await trio.sleep(MAKE_WAY_S)
            now, rivals = hall.clock.now_ms(), self._open_rivals(bid, crowded=crowded)
            found = decide(hall.book, ask, now=now, rivals=rivals, quotes=quotes)
        # Nothing may happen in between: the transcript says what was known when the choice was made.
        return found, codec.pack_record(record_auction(hall.book, bid, ask, now=now, rivals=rivals, quotes=quotes))

    def _open_rivals(self, bid: Verified[Bid], *, crowded: bool) -> list[Verified[Bid]]:
        return self.hall.rivals.still_open(but=[bid]) if crowded else []

    async def _quotes(self, bid: Verified[Bid], ask: Ask, *, crowded: bool) -> list[Verified[Quote]]:
        """What the best would take less for."""
        hall = self.hall
        rivals = self._open_rivals(bid, crowded=crowded)
        found = decide(hall.book, ask, now=hall.clock.now_ms(), rivals=rivals)
        asked = (match for match in found.matches if not self.quotes_in_vain(match.offer.signer))
        return await ask_for_quotes(hall.network, hall.clock, bid, asked)

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
            award, answer = await self.hall.ask(match, bid, purchase, digest)
            if answer.lease is not None:
                note_slots(self.hall.book, match, bid)
                file = AwardFile(transcript=transcript, award=award.raw, lease=answer.lease.raw, tries=tuple(tries))
                return answer.lease, match, file
            tries.append(self.hall.learn(match, answer))
            provider = match.offer.record.provider
            await tell("refused", {"provider": provider.hex(), "reason": answer.word, "detail": answer.detail})
        return None

    def _obstacle(self, match: Match, purchase: Purchase, waited_s: float) -> str | None:
        """Why a place of the list is not worth a question any more. The market goes on while others are asked."""
        if match.quote is not None and is_old(match.quote.record, waited_s):
            return _QUOTE_IS_OLD
        if purchase.funds is not None and match.cap > purchase.funds:
            return _TOO_DEAR
        return None if is_still_there(self.hall.book, match) else _GONE


def is_old(quote: Quote, waited_s: float) -> bool:
    """Whether its provider would call a quote expired that was decided by so many seconds ago. Clocks run apart: only
    how long it was meant to live can be believed."""
    return 1000 * (waited_s + PATIENCE_S) >= quote.expires_at - quote.issued_at
