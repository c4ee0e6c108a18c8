"""What auctions share: bids of their own, a book that knows what was just taken, and an open ear for every answer."""

from __future__ import annotations

import random
from typing import Any

import pytest
from trio.testing import MockClock

from market.matching import Match, shortlist
from market.records import Refusal
from market.signing import verify
from market.transcript import Try
from node.auction_hall import AuctionHall, is_still_there, note_slots
from node.awarding import Answer
from tests.fakes.sales import PURCHASE, PURSE, SELLERS, Sale, an_offer_by, proof, refuse
from tests.fakes.samples import BUYER, a_bid, an_award
from tests.simulation.marketplace import START_MS


def a_hall(sale: Sale, **changes: Any) -> AuctionHall:
    parts = {"signer": BUYER, "network": sale.network, "intake": sale.intake, "clock": sale.clock}
    return AuctionHall(**parts, rng=random.Random(1), purse=PURSE, prove_lane=proof, **changes)


def the_match(sale: Sale) -> Match:
    ask = PURCHASE.ask(a_bid())
    return shortlist(sale.intake.book, ask, now=START_MS).matches[0]


async def test_every_bid_has_an_id_of_its_own_unless_it_is_given_one(autojump_clock: MockClock):
    hall = a_hall(Sale())
    drawn = [hall.draw_bid(PURCHASE).record for _ in range(3)]
    assert len({bid.bid_id for bid in drawn}) == 3
    assert {bid.spec_hash for bid in drawn} == {a_bid().spec_hash}
    assert hall.draw_bid(PURCHASE, bid_id=b"i" * 16).record.bid_id == b"i" * 16


async def test_slots_that_were_granted_are_not_there_any_more(autojump_clock: MockClock):
    sale = Sale(an_offer_by(0, free_slots=2))
    match = the_match(sale)
    for number, left in ((1, True), (2, False)):
        note_slots(sale.intake.book, match, a_bid(bid_id=bytes([number]) * 16))
        assert is_still_there(sale.intake.book, match) is left


async def test_a_machine_that_was_taken_back_is_not_there_any_more(autojump_clock: MockClock):
    sale = Sale(an_offer_by(0))
    match = the_match(sale)
    sale.intake.take(an_offer_by(0, version=2, withdrawn=True))
    assert not is_still_there(sale.intake.book, match)
    note_slots(sale.intake.book, match, a_bid())


@pytest.mark.parametrize("is_signed", [True, False])
async def test_what_is_learned_from_an_answer_is_also_written_down(autojump_clock: MockClock, is_signed: bool):
    sale = Sale(an_offer_by(0))
    match = the_match(sale)
    refusal = verify(refuse(SELLERS[0], BUYER.sign(an_award(match.offer)))["refusal"], Refusal)
    answer = Answer(refusal=refusal) if is_signed else Answer(word="unreachable")
    tried = a_hall(sale).learn(match, answer)
    assert tried == Try(offer_id=match.offer.id, refusal=refusal.raw if is_signed else b"", word=answer.word)
    assert is_still_there(sale.intake.book, match) is not is_signed


async def test_every_answer_is_heard(autojump_clock: MockClock):
    sale, heard = Sale(an_offer_by(0)), []

    async def hear(award: Any, answer: Answer) -> None:
        heard.append((award.provider, answer.lease is not None))

    hall = a_hall(sale, heard=hear)
    bid = hall.draw_bid(PURCHASE).record
    award, answer = await hall.ask(the_match(sale), bid, PURCHASE, bytes(32))
    assert heard == [(SELLERS[0].key, True)]
    assert answer.lease is not None
    assert answer.lease.record.award == award.raw
