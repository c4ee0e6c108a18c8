"""The buying side of an auction: down the list until somebody signs, and no answer is believed that does not fit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from market import codec
from market.matching import transcript_of
from market.records import Award, Bid, JobSpec, Lease, Offer, RefusalReason, Requirements
from market.signing import Signer, Verified, spec_hash, verify
from node import wire
from node.auction import Auctioneer, Outcome, Purchase, Purse
from node.lease_board import lease_id_of
from node.offer_intake import OfferIntake
from node.ports import PeerUnreachable
from node.provider import AwardRequest
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import (
    BUYER,
    CHAIN_ID,
    ESCROW,
    NOW,
    PAYER,
    SALT,
    SESSION,
    SPEC,
    a_lease,
    a_refusal,
    a_signer,
    offered_by,
    some_limits,
)

SELLERS = [a_signer(f"seller{number}") for number in range(12)]
BY_KEY = {seller.key: seller for seller in SELLERS}
Reply = Callable[[Signer, Verified[Award]], dict[str, Any]]


class Sale:
    """A requester, some offers in its book, and sellers that answer as scripted."""

    def __init__(self, *offers: Verified[Offer]) -> None:
        self.network, self.clock = RecordingNetwork(BUYER.key), SetClock()
        self.intake = OfferIntake(self.network, self.clock)
        for offer in offers:
            self.intake.take(offer)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.replies: dict[bytes, Reply] = {}
        self.awards: list[Verified[Award]] = []
        self.network.answer = self._answer
        self.auctioneer = Auctioneer(
            signer=BUYER,
            network=self.network,
            intake=self.intake,
            clock=self.clock,
            rng=random.Random(1),
            purse=Purse(payer=PAYER, signer=SESSION, chain_id=CHAIN_ID, escrow=ESCROW),
            prove_lane=lambda payee, subject: (payee + subject).ljust(64, b"p"),
        )

    def _answer(self, peer: bytes, protocol: str, request: bytes) -> bytes:
        assert protocol == wire.PROTOCOL_AWARD
        asked = codec.unpack_record(request, AwardRequest)
        award = verify(asked.award, Award)
        assert award.record.provider == peer
        assert spec_hash(codec.unpack_record(asked.spec, JobSpec), asked.salt) == award.record.spec_hash
        self.awards.append(award)
        return codec.pack(self.replies.get(peer, grant)(BY_KEY[peer], award))

    async def buy(self, **changes: Any) -> Outcome:
        plain = Purchase(spec=SPEC, salt=SALT, limits=some_limits(), strategy="lowest_cost")
        return await self.auctioneer.buy(replace(plain, **changes), self._tell)

    async def _tell(self, kind: str, detail: dict[str, Any]) -> None:
        self.told.append((kind, detail))

    def asked(self) -> list[int]:
        return [award.record.price for award in self.awards]

    def refusals(self) -> list[str]:
        return [detail["reason"] for kind, detail in self.told if kind == "refused"]


def grant(seller: Signer, award: Verified[Award], /, **changes: Any) -> dict[str, Any]:
    lease_id = lease_id_of(award.signer, seller.key, award.record.bid_id)
    return {"lease": seller.sign(replace(a_lease(award, lease_id=lease_id), **changes)).raw}


def refuse(seller: Signer, award: Verified[Award], /, **changes: Any) -> dict[str, Any]:
    plain = a_refusal(provider=seller.key, bid_id=award.record.bid_id)
    return {"refusal": seller.sign(replace(plain, **changes)).raw}


def a_sale(count: int = 3, **changes: Any) -> Sale:
    return Sale(*(offered_by(SELLERS[number], price=100 + number, **changes) for number in range(count)))


async def test_the_cheapest_that_signs_gets_the_job():
    sale = a_sale()
    outcome = await sale.buy()
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[0].key
    assert outcome.match is not None
    assert outcome.match.offer.record.price == 100
    assert sale.asked() == [100]


async def test_the_award_repeats_the_tag_to_the_letter():
    sale = a_sale(1)
    await sale.buy()
    (award,) = sale.awards
    (offer,) = sale.intake.book.live(NOW)
    record, tag = award.record, offer.record
    assert (record.offer_id, record.offer_version, record.price) == (offer.id, tag.version, tag.price)
    assert (record.terms, record.payee, record.escrow) == (tag.terms, tag.settlement.payee, tag.settlement.escrow)
    assert (record.payer, record.signer, record.requester) == (PAYER, SESSION, BUYER.key)
    assert record.transcript == transcript_of([offer])
    assert record.lane_proof.startswith(tag.settlement.payee)


async def test_an_award_outlives_any_tolerated_clock():
    sale = a_sale(1)
    await sale.buy()
    assert sale.awards[0].record.expires_at > NOW + wire.MAX_CLOCK_SKEW_MS


async def test_a_bid_keeps_to_itself_what_nobody_needs_to_know():
    sale = a_sale(1)
    secret = replace(SPEC, image="secret.example/image", command=("secret", "words"), env={"KEY": "secret"})
    await sale.buy(spec=secret, limits=some_limits(max_price=123_456_789))
    ((topic, message),) = sale.network.published
    assert topic == wire.TOPIC_BIDS
    assert b"secret" not in message
    assert (123_456_789).to_bytes(4, "big") not in message
    bid = verify(codec.unpack(message)[0], Bid).record
    assert bid.spec_hash == sale.awards[0].record.spec_hash


async def test_every_auction_has_a_bid_of_its_own():
    sale = a_sale(1)
    await sale.buy()
    await sale.buy()
    assert len({award.record.bid_id for award in sale.awards}) == 2


async def test_a_refusal_leads_to_the_next_best_and_teaches_the_book():
    sale = a_sale()
    sale.replies[SELLERS[0].key] = refuse
    outcome = await sale.buy()
    assert outcome.lease is not None
    assert sale.asked() == [100, 101]
    assert sale.refusals() == ["no_capacity"]
    assert sale.network.penalties == []
    await sale.buy()
    assert sale.asked() == [100, 101, 101], "it was told that nothing is free there"


async def test_a_seller_that_is_away_is_passed_over_without_blame():
    sale = a_sale(2)

    def away(*_asked: Any) -> dict[str, Any]:
        raise PeerUnreachable("away")

    sale.replies[SELLERS[0].key] = away
    outcome = await sale.buy()
    assert outcome.lease is not None
    assert sale.refusals() == ["unreachable"]
    assert sale.network.penalties == []


MALLORY = SELLERS[11]
LIES: dict[str, Reply] = {
    "nothing": lambda s, a: {},
    "a list": lambda s, a: [],  # type: ignore[return-value]
    "junk for a lease": lambda s, a: {"lease": b"junk"},
    "a number for a lease": lambda s, a: {"lease": 5},
    "a number for a refusal": lambda s, a: {"refusal": 5},
    "an offer for a lease": lambda s, a: {"lease": offered_by(s).raw},
    "a lease signed by another": lambda s, a: grant(MALLORY, a, provider=MALLORY.key),
    "a lease for another award": lambda s, a: grant(s, a, award=BUYER.sign(replace(a.record, price=10**6)).raw),
    "a lease under a chosen id": lambda s, a: grant(s, a, lease_id=b"x" * 16),
    "a lease with more slots": lambda s, a: grant(s, a, slots=(0, 1)),
    "a refusal signed by another": lambda s, a: refuse(MALLORY, a, provider=MALLORY.key),
    "a refusal of another bid": lambda s, a: refuse(s, a, bid_id=b"x" * 16),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_lie_costs_trust_and_the_sale(lie: str):
    sale = a_sale(2)
    sale.replies[SELLERS[0].key] = LIES[lie]
    outcome = await sale.buy()
    assert outcome.lease is not None
    assert outcome.lease.signer == SELLERS[1].key
    assert [peer for peer, _ in sale.network.penalties] == [SELLERS[0].key]


async def test_one_slot_named_twice_is_not_two_slots():
    sale = a_sale(1)
    sale.replies[SELLERS[0].key] = lambda s, a: grant(s, a, slots=(0, 0))
    spec = replace(SPEC, requirements=Requirements(slots=2))
    assert (await sale.buy(spec=spec)).lease is None
    assert sale.network.penalties


async def test_so_many_are_asked_and_no_more():
    sale = a_sale(12)
    for seller in SELLERS:
        sale.replies[seller.key] = lambda s, a: refuse(s, a, reason=RefusalReason.DRAINING)
    outcome = await sale.buy()
    assert outcome.lease is None
    assert len(sale.awards) == wire.MAX_AWARD_TRIES
    assert len(outcome.shortlist.matches) == 12


async def test_where_nothing_fits_nobody_is_asked_and_nothing_is_announced():
    sale = a_sale(3)
    outcome = await sale.buy(limits=some_limits(max_price=1))
    assert (outcome.lease, outcome.shortlist.matches, sale.awards, sale.network.published) == (None, (), [], [])
    assert outcome.why_not.closest[0].value == 100


async def test_the_table_shows_who_fits_and_why_others_do_not():
    offers = [offered_by(SELLERS[0], price=100), offered_by(SELLERS[1], price=10**6)]
    sale = Sale(*offers)
    await sale.buy()
    kind, detail = sale.told[0]
    assert (kind, detail["offers"], detail["matches"]) == ("matching", 2, 1)
    assert detail["rejected"] == [{"rule": "price", "fails": 1, "only": 1}]
    assert [one["provider"] for one in detail["candidates"]] == [SELLERS[0].key.hex()]
    assert detail["transcript"] == transcript_of(offers).hex()


async def test_looking_asks_nobody():
    sale = a_sale(3)
    purchase = Purchase(spec=SPEC, salt=SALT, limits=some_limits(), strategy="lowest_cost")
    found, reasons = sale.auctioneer.look(purchase, sale.auctioneer.draw_bid(purchase).record)
    assert (len(found.matches), reasons.matches) == (3, 3)
    assert (sale.network.requests, sale.network.published) == ([], [])


async def test_a_lease_is_a_record_of_the_sellers_own_hand():
    sale = a_sale(1)
    outcome = await sale.buy()
    assert outcome.lease is not None
    assert verify(outcome.lease.raw, Lease).record.award == sale.awards[0].raw
