"""The bids that compete with one of ours: which are still open, whether there are many, and when all were heard."""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

import trio

from market.ask import Ask
from market.feasibility import Candidate, Limits, is_feasible
from market.money import MAX_PRICE
from market.offer_row import Row
from market.records import Bid, Offer
from market.rivals import FEW, MAX_RIVALS, MOMENT_MS, compile_rivals, touching
from market.signing import Verified
from node import wire
from node.offer_intake import OfferIntake
from node.ports import Clock

QUIET_S = 0.25
"""When no bid of our own moment was heard for so long, all of them have arrived."""
SETTLE_MOST_S = 4.0
"""A bid waits no longer than this, however slow the network is."""
_LOOK_S = 0.05
_QUIET_LOOKS = round(QUIET_S / _LOOK_S)
_LOOKS_AT_MOST = 20
"""After the end of the moment: a second on a node that has time."""
_SLOWEST_MS = 2_000
"""Bids that were made so much before ours are no reason to wait: their authors' clocks are slow."""


class RivalBids:
    """Reads what was heard, and remembers which bids of this node are in an auction now."""

    def __init__(self, intake: OfferIntake, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock
        self._ours: dict[bytes, Verified[Bid]] = {}

    @contextmanager
    def bidding(self, bid: Verified[Bid]) -> Iterator[None]:
        """Our other auctions count this bid as a rival while the block runs."""
        self._ours[bid.id] = bid
        try:
            yield
        finally:
            del self._ours[bid.id]

    def still_open(self, *, but: Collection[Verified[Bid]]) -> list[Verified[Bid]]:
        """The bids that may still take slots, ``but`` some: of each job the newest, and none that an offer names as
        granted. Of too many, those heard last."""
        newest: dict[tuple[bytes, bytes], Verified[Bid]] = {}
        for bid in self._recent():
            job = (bid.record.requester, bid.record.spec_hash)
            known = newest.pop(job, bid)
            newest[job] = max(bid, known, key=lambda one: (one.record.issued_at, one.id))
        left_out = {bid.id for bid in but}
        found = [bid for bid in newest.values() if bid.id not in left_out][-2 * MAX_RIVALS :]
        granted = self._granted({bid.record.bid_id[:8]: bid.record for bid in found})
        return [bid for bid in found if bid.record.bid_id[:8] not in granted][-MAX_RIVALS:]

    def _granted(self, bids: dict[bytes, Bid]) -> set[bytes]:
        """Which of these an offer names as granted. Only one that could have served it is believed: anybody can write
        any name on a tag, and would silence rivals with it."""
        names, granted = bids.keys(), set[bytes]()
        for offer in self._intake.book.live(self._clock.now_ms()):
            tag = offer.record
            if tag.granted and tag.free_slots < tag.total_slots:
                named = names & set(tag.granted)
                granted |= {name for name in named - granted if could_serve(tag, bids[name])}
        return granted

    def are_many(self, ask: Ask, rows: Sequence[Row], *, but: Collection[Verified[Bid]] = ()) -> bool:
        """Whether more bids than a few, ``but`` some, were made at about the same time for what this one is for, and
        not long ago: bursts come in rows, and who begins one has heard nobody yet. What became of them does not matter.
        """
        left_out, now = {bid.id for bid in but}, self._clock.now_ms()
        times: list[int] = []
        for bid in islice(chain(self._ours.values(), self._intake.bids_heard.newest_first()), MAX_RIVALS):
            if bid.id in left_out or bid.record.expires_at <= now:
                continue
            if touching(rows, compile_rivals(self._intake.book, ask, [bid], now)):
                insort(times, bid.record.issued_at)
                if any(late - early < wire.RIVAL_MS for early, late in zip(times, times[FEW:], strict=False)):
                    return True
        return False

    async def settle(self, ask: Ask, rows: Sequence[Row]) -> None:
        """Wait until the moment of a bid made just now is over, and no more bids of it, or earlier ones, are heard that
        want one of these rows.

        Who invents bids can make others wait for a second more, and for that they must ask for the same.
        """
        end = (self._clock.now_ms() // MOMENT_MS + 1) * MOMENT_MS
        with trio.move_on_after(SETTLE_MOST_S):
            await trio.sleep(max(0, end - self._clock.now_ms()) / 1000)
            known, quiet = self._heard_before(end).keys(), 0
            # Looks are counted, not time: a node that is short of it hears nothing either.
            for _ in range(_LOOKS_AT_MOST):
                await trio.sleep(_LOOK_S)
                heard = self._heard_before(end)
                new = [bid for bid_id, bid in heard.items() if bid_id not in known]
                known = heard.keys()
                rivals = compile_rivals(self._intake.book, ask, new, self._clock.now_ms())
                quiet = 0 if touching(rows, rivals) else quiet + 1
                if quiet == _QUIET_LOOKS:
                    return

    def _recent(self) -> list[Verified[Bid]]:
        now = self._clock.now_ms()
        everybody = chain(self._intake.bids_heard.values(), self._ours.values())
        return [bid for bid in everybody if abs(now - bid.record.issued_at) < wire.RIVAL_MS]

    def _heard_before(self, end: int) -> dict[bytes, Verified[Bid]]:
        bids = self._intake.bids_heard.values()
        return {bid.id: bid for bid in bids if end - _SLOWEST_MS <= bid.record.issued_at < end}


def could_serve(offer: Offer, bid: Bid) -> bool:
    """Whether a machine is of the kind that a bid asks for, whatever is free of it and whatever it costs."""
    whole = Candidate(offer=offer, free_slots=offer.total_slots)
    pays = offer.settlement
    limits = Limits(max_price=MAX_PRICE, chain_id=pays.chain_id, escrow=pays.escrow, deny=(bid.requester,))
    return is_feasible(whole, bid.requirements, limits)
