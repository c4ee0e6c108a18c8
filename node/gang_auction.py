"""An auction for several machines of different owners at once: all of them, or none.

Machines are asked for one after the other, in the order of their owners' keys. Who refuses is left out and the choice
is made anew; what was granted and is still chosen stays. When there are too few left, or not all can be paid, every
lease is given back at once: nobody waits for anybody, so two gangs cannot block each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import trio
from msgspec import Struct

from market import codec
from market.decision import decide
from market.explain import WhyNot
from market.gang import pick_gang
from market.matching import Match, Shortlist, shortlist
from market.records import Award
from market.signing import verify
from market.transcript import record_auction
from node.auction_hall import AuctionHall, Outcome, Tell, note_slots
from node.gang_table import GangTable, Seat
from node.match_view import describe_match
from node.purchase import Purchase

LEFT_ALONE_S = 10.0
"""A provider that refuses for a reason its offer does not show would be chosen again at once, and so would one that was
just given its lease back: it grants none for as long."""


class GangOutcome(Struct, frozen=True, kw_only=True):
    """The end of a gang's auction. ``won`` has an outcome with a lease for each member, or is empty."""

    won: tuple[Outcome, ...] = ()
    shortlist: Shortlist
    why_not: WhyNot


class GangAuctioneer:
    """Holds the auctions of a node's gangs."""

    def __init__(self, hall: AuctionHall) -> None:
        self._hall = hall
        self._left_alone: dict[bytes, float] = {}

    def choose(self, found: Shortlist, count: int, *, scattered: bool) -> tuple[Match, ...] | None:
        """The machines that would be asked for now; None when there are too few."""
        return pick_gang(found.matches, count, scattered=scattered, without=self._resting())

    async def buy(
        self, purchases: Sequence[Purchase], tell: Tell, *, scattered: bool, is_wanted: Callable[[], bool]
    ) -> GangOutcome:
        """Hold one auction for all members.

        Args:
            purchases: one for each member; they differ in what runs, not in what it needs.
            tell: shows events to the gang's owner.
            scattered: no two machines in one region or network.
            is_wanted: asked before each provider is.
        """
        hall, first = self._hall, purchases[0]
        # Ties between equal offers are broken by the beginning of the bid's id: all members must see one ranking.
        beginning = hall.rng.randbytes(8)
        seats = [Seat(one, hall.draw_bid(one, bid_id=beginning + hall.rng.randbytes(8))) for one in purchases]
        ask = first.ask(seats[0].bid.record)
        found = shortlist(hall.book, ask, now=hall.clock.now_ms())
        reasons = hall.why_not(ask, first)
        if self.choose(found, len(seats), scattered=scattered) is None:
            return GangOutcome(shortlist=found, why_not=reasons)
        with ExitStack() as bidding:
            for seat in seats:
                bidding.enter_context(hall.rivals.bidding(seat.bid))
                hall.poster.post(seat.bid)
            await self._decide(seats, found)
            await tell("matching", describe_match(seats[0].found, reasons, ask))
            won = await self._take_seats(seats, tell, is_wanted, scattered=scattered, why_not=reasons)
        return GangOutcome(won=won, shortlist=seats[0].found, why_not=reasons)

    def give_back(self, won: Sequence[Outcome]) -> None:
        """The leases of an auction cannot be used after all."""
        for outcome in won:
            if outcome.lease is not None:
                self._let_go(verify(outcome.lease.record.award, Award).record)

    async def _decide(self, seats: Sequence[Seat], found: Shortlist) -> None:
        """Rank the offers for each member by what is known now, and write that down."""
        hall, ours = self._hall, [seat.bid for seat in seats]
        await trio.lowlevel.checkpoint()  # jobs that came together are rivals too
        first, rows = seats[0].purchase.ask(ours[0].record), [match.row for match in found.matches]
        crowded = hall.rivals.are_many(first, rows, but=ours)
        if crowded:
            await hall.rivals.settle(first, rows)
        for seat in seats:
            await trio.lowlevel.checkpoint()
            # From here to the transcript nothing may happen: it says what was known when the choice was made.
            ask, now = seat.purchase.ask(seat.bid.record), hall.clock.now_ms()
            rivals = hall.rivals.still_open(but=ours) if crowded else []
            seat.found = decide(hall.book, ask, now=now, rivals=rivals)
            seat.transcript = codec.pack_record(record_auction(hall.book, seat.bid, ask, now=now, rivals=rivals))

    async def _take_seats(
        self, seats: Sequence[Seat], tell: Tell, is_wanted: Callable[[], bool], *, scattered: bool, why_not: WhyNot
    ) -> tuple[Outcome, ...]:
        table = GangTable(
            self._hall,
            seats,
            scattered=scattered,
            without=self._resting(),
            let_go=self._let_go,
            leave_alone=self._leave_alone,
        )
        is_full = False
        try:
            is_full = await table.fill(tell, is_wanted)
        finally:
            # Also when it is cut off: what is not opened together must not be held.
            if not is_full:
                table.clear()
        if not is_full:
            return ()
        return tuple(self._outcome(table, seat, why_not) for seat in seats)

    def _outcome(self, table: GangTable, seat: Seat, why_not: WhyNot) -> Outcome:
        assert seat.match is not None
        note_slots(self._hall.book, seat.match, seat.bid.record)
        return Outcome(
            lease=seat.lease, match=seat.match, shortlist=seat.found, why_not=why_not, file=table.file_of(seat)
        )

    def _let_go(self, award: Award) -> None:
        self._hall.awarding.call_back(award)
        self._leave_alone(award.provider)

    def _leave_alone(self, provider: bytes) -> None:
        self._left_alone[provider] = trio.current_time() + LEFT_ALONE_S

    def _resting(self) -> frozenset[bytes]:
        now = trio.current_time()
        self._left_alone = {one: until for one, until in self._left_alone.items() if until > now}
        return frozenset(self._left_alone)
