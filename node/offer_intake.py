"""Fills the offer book from gossip and from peers' books. Everything is verified before it is kept or passed on."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import TypeVar

import trio

from market.offer_book import Intake, OfferBook
from market.records import Bid, Offer
from market.signing import Verified
from node import wire
from node.admission import Judged, VerifiedRecords, judge_batch, judge_records
from node.book_sync import BookSync
from node.heard_bids import HeardBids
from node.peer_budgets import ADDRESS_RATE, BOOK_RECORD_RATE, RECORD_RATE, Bucket, PeerBudgets, Rate
from node.ports import Clock, Network, Verdict

R = TypeVar("R", Offer, Bid)

_JUDGED_KEPT = 256
_NEWS = (Intake.ADDED, Intake.REPLACED, Intake.WITHDRAWN)
_EXPECTED = (Intake.KNOWN, Intake.OLDER, Intake.WITHDRAWN)
"""What becomes of offers that are in order and bring nothing to sell."""


class OfferIntake:
    """The listening side of the market.

    Args:
        network: where offers and bids come from.
        clock: what is live.
        on_offer: told of every offer that was added to the book or replaced an older version, ours too.

    Attributes:
        book: the offers known right now.
        dropped: how many records were refused, by reason; shown by ``cfab status``.
        bids_heard: live bids of others, newest last, bounded.
        on_own: told of an offer or withdrawal under our own key that somebody else brought and that was news to us.
    """

    def __init__(
        self, network: Network, clock: Clock, *, on_offer: Callable[[Verified[Offer]], None] = lambda offer: None
    ) -> None:
        self._network = network
        self._clock = clock
        self._on_offer = on_offer
        self.book = OfferBook(max_skew_ms=wire.MAX_CLOCK_SKEW_MS)
        self.dropped: Counter[str] = Counter()
        self.bids_heard = HeardBids()
        self.on_own: Callable[[Verified[Offer]], None] = lambda offer: None
        self._judged: OrderedDict[bytes, tuple[Verified[Offer], ...]] = OrderedDict()
        self._verified_offers, self._verified_bids = VerifiedRecords(Offer), VerifiedRecords(Bid)
        self._budgets = PeerBudgets()
        self._addresses = Bucket(ADDRESS_RATE, 0.0)
        self._change: trio.Event | None = None
        self._sync = BookSync(
            network, clock, self.book, judge=self._judge_shown, take=self._take_from, budgets=self._budgets
        )

    def register(self) -> None:
        """Join the topics and answer peers that ask for our book. Call before the network talks."""
        self._network.subscribe(wire.TOPIC_OFFERS, self._judge_offers, self._deliver_offers)
        self._network.subscribe(wire.TOPIC_BIDS, self._judge_bids, self._deliver_bids)
        self._sync.register()

    def take(self, offer: Verified[Offer], *, source: bytes = b"") -> Intake:
        """Put one verified offer in the book (our own posts come this way too). ``source`` is the peer that brought
        it, empty for ourselves."""
        now = self._clock.now_ms()
        outcome = self.book.take(offer, now, source=source)
        if outcome is Intake.ADDED or outcome is Intake.REPLACED:
            self._note(offer, now)
        elif outcome not in _EXPECTED:
            self.dropped[outcome.value] += 1
        if source and offer.record.provider == self._network.key and outcome in _NEWS:
            self.on_own(offer)
        return outcome

    async def wait_change(self) -> None:
        """Return when an offer was added or replaced after this call began."""
        if self._change is None:
            self._change = trio.Event()
        await self._change.wait()

    async def catch_up_forever(self) -> None:
        """Ask peers for what our book lacks, so that a late joiner need not wait for the next round of gossip."""
        await self._sync.keep_up_forever()

    def _take_from(self, offer: Verified[Offer], source: bytes) -> Intake:
        return self.take(offer, source=source)

    def _note(self, offer: Verified[Offer], now: int) -> None:
        """Tell everybody about an offer that is new in the book.

        To read addresses costs as much as to check a signature, and a node needs only so many places to dial; whoever
        trades with a provider looks at its offer for its addresses.
        """
        record = offer.record
        if record.addresses and self._addresses.take(now / 1000):
            self._network.learn(record.provider, record.addresses)
        self._on_offer(offer)
        if self._change is not None:
            self._change.set()
            self._change = None

    def _judge(self, message: bytes, verified: VerifiedRecords[R], forwarder: bytes) -> Judged[R]:
        afford = self._afford(forwarder, RECORD_RATE)
        return self._count(judge_batch(message, verified, self._clock.now_ms(), afford=afford))

    def _judge_shown(self, peer: bytes, envelopes: list[bytes]) -> Judged[Offer]:
        afford = self._afford(peer, BOOK_RECORD_RATE)
        return self._count(judge_records(envelopes, self._verified_offers, self._clock.now_ms(), afford=afford))

    def _afford(self, sender: bytes, rate: Rate) -> Callable[[int], bool]:
        return lambda count: self._budgets.allow(sender, rate, trio.current_time(), count)

    def _count(self, judged: Judged[R]) -> Judged[R]:
        if judged.verdict is not Verdict.ACCEPT:
            self.dropped[judged.reason] += 1
        return judged

    def _judge_offers(self, forwarder: bytes, message: bytes) -> Verdict:
        judged = self._judge(message, self._verified_offers, forwarder)
        if judged.verdict is not Verdict.ACCEPT:
            return judged.verdict
        # The records are kept for delivery: checking the signatures a second time would double the cost of gossip.
        self._judged[message] = judged.records
        while len(self._judged) > _JUDGED_KEPT:
            self._judged.popitem(last=False)
        return Verdict.ACCEPT

    def _deliver_offers(self, forwarder: bytes, message: bytes) -> None:
        for offer in self._judged.pop(message, ()):
            self.take(offer, source=forwarder)

    def _judge_bids(self, forwarder: bytes, message: bytes) -> Verdict:
        judged = self._judge(message, self._verified_bids, forwarder)
        if judged.verdict is not Verdict.ACCEPT:
            return judged.verdict
        for bid in judged.records:
            self.bids_heard.add(bid, forwarder)
        return Verdict.ACCEPT

    def _deliver_bids(self, forwarder: bytes, message: bytes) -> None:
        self.bids_heard.drop_expired(self._clock.now_ms())
