"""The buying side's auction: bid, shortlist, award, and at a refusal the next best at once.

The provider's tag is what is paid; nobody is asked to quote. At most :data:`wire.MAX_AWARD_TRIES` providers are asked
before the job is told that the market moved on.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from market import codec
from market.ask import Ask, JobFacts, ask_of, facts_of_spec
from market.errors import PeerFault
from market.explain import WhyNot, why_not
from market.feasibility import Limits
from market.matching import Match, Shortlist, candidate_of, shortlist
from market.records import Award, Bid, JobSpec, Lease, Refusal
from market.signing import Signer, Verified, digest, spec_hash, verify
from node import wire
from node.admission import pack_batch
from node.lane_subjects import award_subject
from node.lease_board import lease_id_of
from node.match_view import describe_match
from node.offer_intake import OfferIntake
from node.ports import Clock, Network, PeerUnreachable
from node.provider import AwardRequest

log = logging.getLogger(__name__)

_BID_TTL_MS = 60_000
_AWARD_TTL_MS = wire.MAX_CLOCK_SKEW_MS + 30_000
"""By the provider's clock, which may be as wrong as ours: an award must not be born expired."""


class Purse(Struct, frozen=True, kw_only=True):
    """Who pays: the wallet's account, the session key's, and the escrow the money lies in."""

    payer: bytes
    signer: bytes
    chain_id: int
    escrow: bytes


class Purchase(Struct, frozen=True, kw_only=True):
    """What an auction is held for. ``funds`` is what can be set aside, in units; None while that is not known.

    ``weights`` belong to the strategy ``custom``; ``job`` is what is known of the job beyond its spec.
    """

    spec: JobSpec
    salt: bytes
    limits: Limits
    strategy: str
    weights: tuple[int, ...] = ()
    job: JobFacts | None = None
    funds: int | None = None

    def ask(self, bid: Bid) -> Ask:
        """The whole ask behind a bid of this purchase."""
        return ask_of(bid, self.limits, self.job or facts_of_spec(self.spec))


class Outcome(Struct, frozen=True, kw_only=True):
    """The end of one auction: a lease, or why there is none."""

    lease: Verified[Lease] | None
    match: Match | None = None
    shortlist: Shortlist
    why_not: WhyNot


Tell = Callable[[str, dict[str, Any]], Awaitable[None]]
"""``tell(event, detail)``: show the job's owner what happened."""


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
    ) -> None:
        self._signer = signer
        self._network = network
        self._intake = intake
        self._clock = clock
        self._rng = rng
        self._purse = purse
        self._prove_lane = prove_lane

    def look(self, purchase: Purchase, bid: Bid) -> tuple[Shortlist, WhyNot]:
        """The shortlist for a bid right now, and why the other offers are not on it. Asks nobody."""
        now = self._clock.now_ms()
        book = self._intake.book
        found = shortlist(book, purchase.ask(bid), now=now)
        everybody = [candidate_of(book, offer) for offer in book.live(now)]
        return found, why_not(everybody, purchase.spec.requirements, purchase.limits)

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
        """Hold one auction: announce the bid, then award down the shortlist until somebody signs."""
        bid = self.draw_bid(purchase)
        found, reasons = self.look(purchase, bid.record)
        if found.matches:
            await tell("matching", describe_match(found, reasons, purchase.ask(bid.record)))
            await self._network.publish(wire.TOPIC_BIDS, pack_batch([bid]))
        affordable = [one for one in found.matches if purchase.funds is None or one.cap <= purchase.funds]
        transcript = digest(*sorted(offer.id for offer in self._intake.book.live(self._clock.now_ms())))
        for match in affordable[: wire.MAX_AWARD_TRIES]:
            lease = await self._try(match, bid.record, purchase, transcript, tell)
            if lease is not None:
                return Outcome(lease=lease, match=match, shortlist=found, why_not=reasons)
        return Outcome(lease=None, shortlist=found, why_not=reasons)

    async def _try(
        self, match: Match, bid: Bid, purchase: Purchase, transcript: bytes, tell: Tell
    ) -> Verified[Lease] | None:
        award = self._award(match, bid, purchase, transcript)
        request = AwardRequest(award=award.raw, spec=codec.pack_record(purchase.spec), salt=purchase.salt)
        provider = match.offer.record.provider
        try:
            answer = await self._network.request(
                provider,
                wire.PROTOCOL_AWARD,
                codec.pack_record(request),
                timeout=wire.AWARD_TIMEOUT_S,
                max_response=wire.MAX_RESPONSE,
            )
            return await self._read(answer, award, match, tell)
        except PeerUnreachable as error:
            await tell("refused", {"provider": provider.hex(), "reason": "unreachable", "detail": str(error)})
        except PeerFault as fault:
            self._network.penalise(provider, fault.code)
            await tell("refused", {"provider": provider.hex(), "reason": fault.code, "detail": fault.message})
        return None

    async def _read(self, answer: bytes, award: Verified[Award], match: Match, tell: Tell) -> Verified[Lease] | None:
        reply = codec.unpack(answer, limit=wire.MAX_RESPONSE)
        if not isinstance(reply, dict):
            raise PeerFault("an answer to an award that is neither lease nor refusal", code="bad_answer")
        if isinstance(raw := reply.get("lease"), bytes):
            lease = verify(raw, Lease)
            if lease.signer != award.record.provider or lease.record.award != award.raw:
                raise PeerFault("a lease for another award", code="wrong_lease")
            if lease.record.lease_id != lease_id_of(self._signer.key, lease.signer, award.record.bid_id):
                # Ids can be computed by everybody: with a chosen one a provider would take over another's lease here.
                raise PeerFault("a lease under another id", code="wrong_lease")
            if len(set(lease.record.slots)) != award.record.slots:
                raise PeerFault("a lease with another number of slots", code="wrong_lease")
            return lease
        refusal = verify(reply.get("refusal", b""), Refusal)
        if refusal.signer != award.record.provider or refusal.record.bid_id != award.record.bid_id:
            raise PeerFault("a refusal of another award", code="wrong_refusal")
        self._intake.book.learn(refusal.record, match.offer.record.machine)
        await tell(
            "refused",
            {
                "provider": refusal.signer.hex(),
                "reason": str(refusal.record.reason),
                "detail": refusal.record.detail,
            },
        )
        return None

    def _award(self, match: Match, bid: Bid, purchase: Purchase, transcript: bytes) -> Verified[Award]:
        now = self._clock.now_ms()
        offer = match.offer.record
        return self._signer.sign(
            Award(
                requester=self._signer.key,
                provider=offer.provider,
                bid_id=bid.bid_id,
                machine=offer.machine,
                offer_id=match.offer.id,
                offer_version=offer.version,
                price=offer.price,
                slots=bid.requirements.slots,
                spec_hash=bid.spec_hash,
                max_duration_ms=purchase.spec.max_duration_ms,
                chain_id=self._purse.chain_id,
                escrow=self._purse.escrow,
                payer=self._purse.payer,
                signer=self._purse.signer,
                payee=offer.settlement.payee,
                lane_proof=self._prove_lane(
                    offer.settlement.payee, award_subject(self._signer.key, offer.provider, bid.bid_id)
                ),
                terms=offer.terms,
                transcript=transcript,
                issued_at=now,
                expires_at=now + _AWARD_TTL_MS,
            )
        )
