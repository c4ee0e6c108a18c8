"""Fills the offer book from gossip and from peers' books. Everything is verified before it is kept or passed on."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, OrderedDict
from typing import TypeVar

import trio

from bootstrap.containment import contained
from market import codec
from market.errors import PeerFault
from market.offer_book import Intake, OfferBook
from market.records import Bid, Offer
from market.signing import Verified
from node import wire
from node.admission import Judged, VerifiedRecords, judge_batch
from node.peer_budgets import BOOK_RATE, BOOK_RECORD_RATE, RECORD_RATE, PeerBudgets, Rate
from node.ports import Clock, Network, PeerUnreachable, Verdict

log = logging.getLogger(__name__)
R = TypeVar("R", Offer, Bid)

_JUDGED_KEPT = 256
_BIDS_KEPT = 4096
_CATCH_UP_EVERY_S = 10.0
_CATCH_UP_PEERS = 3
_PACKED_FOR_S = 1.0
_EMPTY_BOOK = codec.pack([])


class OfferIntake:
    """The listening side of the market.

    Attributes:
        book: the offers known right now.
        dropped: how many records were refused, by reason; shown by ``cfab status``.
        bids_heard: live bids of others, newest last, bounded.
    """

    def __init__(self, network: Network, clock: Clock) -> None:
        self._network = network
        self._clock = clock
        self.book = OfferBook(max_skew_ms=wire.MAX_CLOCK_SKEW_MS)
        self.dropped: Counter[str] = Counter()
        self.bids_heard: OrderedDict[bytes, Verified[Bid]] = OrderedDict()
        self._judged: OrderedDict[bytes, tuple[Verified[Offer], ...]] = OrderedDict()
        self._verified_offers, self._verified_bids = VerifiedRecords(Offer), VerifiedRecords(Bid)
        self._budgets = PeerBudgets()
        self._packed, self._packed_until = _EMPTY_BOOK, 0.0
        self._change = trio.Event()

    def register(self) -> None:
        """Join the topics and answer peers that ask for our book. Call before the network talks."""
        self._network.subscribe(wire.TOPIC_OFFERS, self._judge_offers, self._deliver_offers)
        self._network.subscribe(wire.TOPIC_BIDS, self._judge_bids, self._deliver_bids)
        self._network.serve(wire.PROTOCOL_BOOK, self._answer_book, max_request=64)

    def take(self, offer: Verified[Offer]) -> Intake:
        """Put one verified offer in the book (our own posts come this way too)."""
        outcome = self.book.take(offer, self._clock.now_ms())
        if outcome in (Intake.ADDED, Intake.REPLACED):
            self._network.learn(offer.record.provider, offer.record.addresses)
            self._change.set()
            self._change = trio.Event()
        elif outcome not in (Intake.KNOWN, Intake.OLDER):
            self.dropped[outcome.value] += 1
        return outcome

    async def wait_change(self) -> None:
        """Return when an offer was added or replaced after this call began."""
        await self._change.wait()

    async def catch_up_forever(self) -> None:
        """Ask a few peers for their books, so that a late joiner need not wait for the next round of gossip."""
        while True:
            await contained(self._catch_up)
            await trio.sleep(_CATCH_UP_EVERY_S if len(self.book) else 1.0)

    async def _catch_up(self) -> None:
        for peer in self._network.peers()[:_CATCH_UP_PEERS]:
            await contained(self._read_book, peer.key)
        self.book.drop_expired(self._clock.now_ms())

    async def _read_book(self, peer: bytes) -> None:
        try:
            answer = await self._network.request(
                peer, wire.PROTOCOL_BOOK, b"", timeout=wire.REQUEST_TIMEOUT_S, max_response=wire.MAX_RESPONSE
            )
            batches = codec.unpack(answer, limit=wire.MAX_RESPONSE)
        except PeerUnreachable:
            return
        except PeerFault as fault:
            self._network.penalise(peer, fault.code)
            return
        if not isinstance(batches, list) or len(batches) > wire.MAX_RESPONSE // 256:
            self._network.penalise(peer, "not_a_book")
            return
        for raw in batches:
            message = raw if isinstance(raw, bytes) else b""
            judged = self._judge(peer, message, self._verified_offers, BOOK_RECORD_RATE)
            if judged.verdict is Verdict.REJECT:
                self._network.penalise(peer, judged.reason)
            if judged.verdict in (Verdict.REJECT, Verdict.POSTPONE):
                return
            for offer in judged.records:
                self.take(offer)
            await trio.lowlevel.checkpoint()

    async def _answer_book(self, peer: bytes, request: bytes) -> bytes:
        """Show our book, as it was up to a second ago.

        An empty request may fetch a mebibyte: a peer that asks more often than any node of ours does is shown an
        empty book, which costs neither side anything and is no lie that could hurt an honest one.
        """
        now = trio.current_time()
        if not self._budgets.allow(peer, BOOK_RATE, now):
            return _EMPTY_BOOK
        if now >= self._packed_until:
            self._packed = self._pack_book()
            self._packed_until = now + (_PACKED_FOR_S if len(self.book) else 0.0)
        return self._packed

    def _pack_book(self) -> bytes:
        batches: list[bytes] = []
        size = 16
        for offer in self.book.live(self._clock.now_ms()):
            size += len(offer.raw) + 16
            if size > wire.MAX_RESPONSE:
                break
            batches.append(codec.pack([offer.raw]))
        return codec.pack(batches)

    def _judge(self, sender: bytes, message: bytes, verified: VerifiedRecords[R], rate: Rate) -> Judged[R]:
        judged = judge_batch(
            message,
            verified,
            self._clock.now_ms(),
            afford=lambda count: self._budgets.allow(sender, rate, trio.current_time(), count),
        )
        if judged.verdict is not Verdict.ACCEPT:
            self.dropped[judged.reason] += 1
        return judged

    def _judge_offers(self, forwarder: bytes, message: bytes) -> Verdict:
        judged = self._judge(forwarder, message, self._verified_offers, RECORD_RATE)
        if judged.verdict is not Verdict.ACCEPT:
            return judged.verdict
        # The records are kept for delivery: checking the signatures a second time would double the cost of gossip.
        self._judged[_fingerprint(message)] = judged.records
        while len(self._judged) > _JUDGED_KEPT:
            self._judged.popitem(last=False)
        return Verdict.ACCEPT

    def _deliver_offers(self, forwarder: bytes, message: bytes) -> None:
        for offer in self._judged.pop(_fingerprint(message), ()):
            self.take(offer)

    def _judge_bids(self, forwarder: bytes, message: bytes) -> Verdict:
        judged = self._judge(forwarder, message, self._verified_bids, RECORD_RATE)
        if judged.verdict is not Verdict.ACCEPT:
            return judged.verdict
        for bid in judged.records:
            self.bids_heard[bid.id] = bid
        while len(self.bids_heard) > _BIDS_KEPT:
            self.bids_heard.popitem(last=False)
        return Verdict.ACCEPT

    def _deliver_bids(self, forwarder: bytes, message: bytes) -> None:
        now = self._clock.now_ms()
        while self.bids_heard:
            oldest = next(iter(self.bids_heard.values()))
            if oldest.record.expires_at > now:
                break
            self.bids_heard.popitem(last=False)


def _fingerprint(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=16).digest()
