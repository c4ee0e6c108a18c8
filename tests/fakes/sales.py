"""A requester at its auctions: offers in its book, and sellers that answer awards as scripted."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from ledger.statement import with_grants
from ledger.voucher import Domain
from market import codec
from market.quoting import QUOTE_TTL_MS
from market.records import Award, Bid, JobSpec, Offer
from market.signing import Signer, Verified, spec_hash, verify
from node import wire
from node.auction import Auctioneer, Outcome, Purchase, Purse
from node.lease_board import lease_id_of
from node.offer_intake import OfferIntake
from node.provider import AwardRequest
from node.quotes import QuoteRequest
from tests.fakes.desks import RecordingNetwork
from tests.fakes.samples import (
    BUYER,
    CHAIN_ID,
    ESCROW,
    PAYEE_KEY,
    PAYER,
    SALT,
    SESSION,
    SPEC,
    a_bid,
    a_lease,
    a_quote,
    a_refusal,
    a_signer,
    offered_by,
    some_limits,
)
from tests.simulation.marketplace import START_MS, SimulatedClock

SELLERS = [a_signer(f"seller{number}") for number in range(12)]
BY_KEY = {seller.key: seller for seller in SELLERS}
PURSE = Purse(payer=PAYER, signer=SESSION, chain_id=CHAIN_ID, escrow=ESCROW)
PURCHASE = Purchase(spec=SPEC, salt=SALT, limits=some_limits(), strategy="lowest_cost")
Reply = Callable[[Signer, Verified[Award]], Any]


def proof(payee: bytes, subject: bytes) -> bytes:
    """Stands for the session key's signature."""
    return (payee + subject).ljust(64, b"p")


class Sale:
    """One requester and its sellers. Every seller grants unless ``replies`` says otherwise by its key.

    Attributes:
        quotes: by a seller's key, what it quotes; the others quote nothing.
        told: the events shown to the job's owner.
        awards: what the sellers were sent, in order.
        cancelled: sellers that were told to drop a lease, and which.
    """

    def __init__(self, *offers: Verified[Offer]) -> None:
        self.network, self.clock = RecordingNetwork(BUYER.key), SimulatedClock()
        self.intake = OfferIntake(self.network, self.clock)
        self.intake.register()
        for offer in offers:
            self.intake.take(offer)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.replies: dict[bytes, Reply] = {}
        self.quotes: dict[bytes, int] = {}
        self.awards: list[Verified[Award]] = []
        self.cancelled: list[tuple[bytes, bytes]] = []
        self.network.answer = self._answer
        self.auctioneer = Auctioneer(
            signer=BUYER,
            network=self.network,
            intake=self.intake,
            clock=self.clock,
            rng=random.Random(1),
            purse=PURSE,
            prove_lane=proof,
        )

    def _answer(self, peer: bytes, protocol: str, request: bytes) -> bytes:
        if protocol == wire.PROTOCOL_CANCEL:
            self.cancelled.append((peer, codec.unpack(request)["lease"]))
            return codec.pack({"stage": "lapsed"})
        if protocol == wire.PROTOCOL_QUOTE:
            return codec.pack(self._quote(peer, codec.unpack_record(request, QuoteRequest)))
        assert protocol == wire.PROTOCOL_AWARD
        asked = codec.unpack_record(request, AwardRequest)
        award = verify(asked.award, Award)
        assert award.record.provider == peer
        assert spec_hash(codec.unpack_record(asked.spec, JobSpec), asked.salt) == award.record.spec_hash
        self.awards.append(award)
        return codec.pack(self.replies.get(peer, grant)(BY_KEY[peer], award))

    def _quote(self, peer: bytes, asked: QuoteRequest) -> dict[str, bytes]:
        if peer not in self.quotes:
            return {}
        offer = next(one for one in self.intake.book.offers_of(peer) if one.id == asked.offer_id)
        now, bid = self.clock.now_ms(), verify(asked.bid, Bid).record
        dates = {"issued_at": now, "expires_at": now + QUOTE_TTL_MS}
        quote = a_quote(offer, bid_id=bid.bid_id, price=self.quotes[peer], **dates)
        return {"quote": BY_KEY[peer].sign(quote).raw}

    async def buy(self, **changes: Any) -> Outcome:
        return await self.auctioneer.buy(replace(PURCHASE, **changes), self._tell)

    async def _tell(self, kind: str, detail: dict[str, Any]) -> None:
        self.told.append((kind, detail))

    def hear(self, *bids: Verified[Bid]) -> None:
        """Gossip brings these bids."""
        self.network.judges[wire.TOPIC_BIDS](SELLERS[0].key, codec.pack([bid.raw for bid in bids]))

    def bids(self) -> list[list[Verified[Bid]]]:
        """The bids in each message that this node published."""
        messages = [message for topic, message in self.network.published if topic == wire.TOPIC_BIDS]
        return [[verify(raw, Bid) for raw in codec.unpack(message)] for message in messages]

    def asked(self) -> list[int]:
        """The prices of the awards."""
        return [award.record.price for award in self.awards]

    def refusals(self) -> list[str]:
        """Why sellers did not sign, as the owner was told."""
        return [detail["reason"] for kind, detail in self.told if kind == "refused"]


@asynccontextmanager
async def a_sale(count: int = 3, **changes: Any) -> AsyncIterator[Sale]:
    """So many sellers with two slots each, at 100, 101, …"""
    offers = [an_offer_by(number, price=100 + number, **changes) for number in range(count)]
    async with at_work(Sale(*offers)) as sale:
        yield sale


@asynccontextmanager
async def at_work(sale: Sale) -> AsyncIterator[Sale]:
    """The auctioneer's background tasks run."""
    async with sale.auctioneer.working():
        yield sale


def an_offer_by(number: int, **changes: Any) -> Verified[Offer]:
    """An offer of that seller that is live in the simulated market."""
    dates = {"issued_at": START_MS, "expires_at": START_MS + 600_000}
    return offered_by(SELLERS[number], **(dates | changes))


def a_rival_bid(number: int, **changes: Any) -> Verified[Bid]:
    """Somebody else's bid for any machine."""
    rival = a_signer(f"rival{number}")
    dates = {"issued_at": START_MS, "expires_at": START_MS + 60_000}
    plain = {"requester": rival.key, "bid_id": number.to_bytes(16, "little")}
    return rival.sign(a_bid(**(dates | plain | changes)))


def grant(seller: Signer, award: Verified[Award], /, **changes: Any) -> dict[str, Any]:
    """What an honest seller answers that has slots."""
    lease_id = lease_id_of(award.signer, seller.key, award.record.bid_id)
    lease = replace(a_lease(award, lease_id=lease_id), **changes)
    if "grants" not in changes:
        lease = with_grants(lease, award.record.machine, Domain(CHAIN_ID, ESCROW), PAYEE_KEY.sign)
    return {"lease": seller.sign(lease).raw}


def refuse(seller: Signer, award: Verified[Award], /, **changes: Any) -> dict[str, Any]:
    """What an honest seller answers that has none."""
    plain = a_refusal(provider=seller.key, bid_id=award.record.bid_id)
    return {"refusal": seller.sign(replace(plain, **changes)).raw}
