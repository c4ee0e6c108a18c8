"""The table of one gang's auction: who has which machine, who was asked in vain, and what proves each choice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import trio

from market.gang import pick_gang
from market.matching import Match, Shortlist
from market.records import Award, Bid, Lease
from market.signing import Verified
from market.transcript import AwardFile, Try, transcript_digest
from node import wire
from node.auction_hall import AuctionHall, Tell, is_still_there
from node.purchase import Purchase

_GONE, _LEFT_ALONE, _SAME_GANG, _NOT_NEEDED = "gone", "left alone", "same gang", "not needed"


class Seat:
    """One member in the auction.

    Attributes:
        purchase, bid: what it is, and its own bid.
        found, transcript: its ranking, and what that was decided by, packed.
        match, award, lease: the machine it has, None until it has one.
    """

    def __init__(self, purchase: Purchase, bid: Verified[Bid]) -> None:
        self.purchase = purchase
        self.bid = bid
        self.found: Shortlist
        self.transcript = b""
        self.match: Match | None = None
        self.award: Verified[Award] | None = None
        self.lease: Verified[Lease] | None = None


class GangTable:
    """Fills the seats of a gang.

    Args:
        seats: the members, decided.
        scattered: no two machines in one region or network.
        without: providers that are not asked now.
        let_go: gives a lease back.
        leave_alone: told of a provider that refused for a reason that the book does not show.
    """

    def __init__(
        self,
        hall: AuctionHall,
        seats: Sequence[Seat],
        *,
        scattered: bool,
        without: Collection[bytes],
        let_go: Callable[[Award], None],
        leave_alone: Callable[[bytes], None],
    ) -> None:
        self._hall = hall
        self._seats = seats
        self._scattered = scattered
        self._let_go = let_go
        self._leave_alone = leave_alone
        self._without = set(without)
        self._until = float("inf")
        self._tried: dict[bytes, tuple[Seat | None, Try]] = {}
        # What is not in everybody's list could not be proved to be anybody's choice.
        rankings = [{match.offer.id for match in seat.found.matches} for seat in seats]
        self._matches = [one for one in seats[0].found.matches if all(one.offer.id in ids for ids in rankings)]
        for match in self._matches:
            if match.offer.record.provider in self._without:
                self._note(None, Try(offer_id=match.offer.id, word=_LEFT_ALONE))

    async def fill(self, tell: Tell, is_wanted: Callable[[], bool]) -> bool:
        """Ask until everybody has a machine. False: not all can be had, or they are not wanted any more; whoever has
        one then still has it."""
        most = len(self._seats) + wire.MAX_AWARD_TRIES
        asked, chosen = 0, self._choose()
        while chosen is not None:
            match = next((one for one in chosen if all(seat.match is not one for seat in self._seats)), None)
            if match is None:
                return True
            if asked == most or self._is_late() or not is_wanted():
                return False
            if not is_still_there(self._hall.book, match):
                self._note(None, Try(offer_id=match.offer.id, word=_GONE))
            else:
                asked += 1
                await self._ask(match, tell)
            if match.offer.record.provider in self._without:
                chosen = self._choose()
        return False

    def _is_late(self) -> bool:
        """Whether the first lease may lapse before the last is there: each must be paid for within its time."""
        return trio.current_time() >= self._until

    def clear(self) -> None:
        """Give back whatever anybody has."""
        for seat in self._seats:
            self._rise(seat)

    def file_of(self, seat: Seat) -> AwardFile:
        """What proves how the machine of a member was chosen."""
        assert seat.match is not None
        assert seat.award is not None
        assert seat.lease is not None
        better: list[Try] = []
        for match in seat.found.matches:
            if match.offer.id == seat.match.offer.id:
                break
            better.append(self._why_passed_over(seat, match.offer.id))
        return AwardFile(transcript=seat.transcript, award=seat.award.raw, lease=seat.lease.raw, tries=tuple(better))

    def _choose(self) -> tuple[Match, ...] | None:
        """The machines to have, as many as there are seats. Who has one that is not among them now gives it back."""
        chosen = pick_gang(self._matches, len(self._seats), scattered=self._scattered, without=self._without)
        funds = self._seats[0].purchase.funds
        if chosen is None or (funds is not None and sum(match.cap for match in chosen) > funds):
            return None
        for seat in self._seats:
            if seat.match not in chosen:
                self._rise(seat)
        return chosen

    async def _ask(self, match: Match, tell: Tell) -> None:
        seat = next(seat for seat in self._seats if seat.match is None)
        digest, provider = transcript_digest(seat.transcript), match.offer.record.provider
        award, answer = await self._hall.ask(match, seat.bid.record, seat.purchase, digest)
        if answer.lease is not None:
            seat.match, seat.award, seat.lease = match, award, answer.lease
            lapses_in_s = match.offer.record.terms.fund_within_ms / 1000
            self._until = min(self._until, trio.current_time() + lapses_in_s / 2)
            return
        self._note(seat, self._hall.learn(match, answer))
        if is_still_there(self._hall.book, match):
            self._leave_alone(provider)
        await tell("refused", {"provider": provider.hex(), "reason": answer.word, "detail": answer.detail})

    def _note(self, seat: Seat | None, tried: Try) -> None:
        """An offer that nobody of the gang gets; ``seat`` is who asked."""
        self._tried[tried.offer_id] = seat, tried
        self._without |= {one.offer.record.provider for one in self._matches if one.offer.id == tried.offer_id}

    def _rise(self, seat: Seat) -> None:
        if seat.award is not None:
            self._let_go(seat.award.record)
        seat.match = seat.award = seat.lease = None

    def _why_passed_over(self, seat: Seat, offer_id: bytes) -> Try:
        """A refusal proves something about the one bid that it names."""
        asked_by, tried = self._tried.get(offer_id, (None, None))
        if tried is not None:
            return tried if asked_by in (None, seat) else Try(offer_id=offer_id, word=_SAME_GANG)
        taken = any(other.match is not None and other.match.offer.id == offer_id for other in self._seats)
        return Try(offer_id=offer_id, word=_SAME_GANG if taken else _NOT_NEEDED)
