"""The table of a gang: seats are kept, given back or passed on, and each has the words that prove its choice."""

from __future__ import annotations

import random
from typing import Any

import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market import codec
from market.decision import decide
from market.records import Award, Offer
from market.signing import Verified
from market.transcript import check_award, record_auction
from node import wire
from node.auction_hall import AuctionHall
from node.gang_table import GangTable, Seat
from node.ports import PeerUnreachable
from tests.fakes.sales import PURCHASE, PURSE, SELLERS, Sale, an_offer_by, proof, refuse
from tests.fakes.samples import BUYER, SPEC, TERMS

BY_KEY = sorted(range(len(SELLERS)), key=lambda number: SELLERS[number].key)


class Table:
    """A table with decided seats over a sale; notes what is given back and left alone."""

    def __init__(self, *offers: Verified[Offer], seats: int = 2, **options: Any) -> None:
        self.sale = Sale(*offers)
        parts = {"network": self.sale.network, "intake": self.sale.intake, "clock": self.sale.clock}
        self.hall = AuctionHall(signer=BUYER, rng=random.Random(1), purse=PURSE, prove_lane=proof, **parts)
        self.seats = [self._seat(rank) for rank in range(seats)]
        self.let_go: list[Award] = []
        self.left_alone: list[bytes] = []
        self.table = GangTable(
            self.hall,
            self.seats,
            scattered=options.get("scattered", False),
            without=options.get("without", ()),
            let_go=self.let_go.append,
            leave_alone=self.left_alone.append,
        )

    def _seat(self, rank: int) -> Seat:
        purchase = replace(PURCHASE, spec=replace(SPEC, env={"RANK": str(rank)}))
        seat = Seat(purchase, self.hall.draw_bid(purchase, bid_id=b"together" + rank.to_bytes(8, "big")))
        ask, now, book = purchase.ask(seat.bid.record), self.sale.clock.now_ms(), self.hall.book
        seat.found = decide(book, ask, now=now)
        seat.transcript = codec.pack_record(record_auction(book, seat.bid, ask, now=now))
        return seat

    async def fill(self) -> bool:
        return await self.table.fill(self.sale._tell, lambda: True)

    def winners(self) -> list[int | None]:
        return [next((n for n, one in enumerate(SELLERS) if seat.award and one.key == seat.award.record.provider), None)
                for seat in self.seats]  # fmt: skip

    def words(self) -> list[list[str]]:
        return [[one.word for one in self.table.file_of(seat).tries] for seat in self.seats]


def at(number: int, price: int, region: str = "eu") -> Verified[Offer]:
    return an_offer_by(number, price=price, region=region)


async def test_better_places_of_others_are_the_gangs_own(autojump_clock: MockClock):
    table = Table(at(0, 100), at(1, 101), at(2, 102), seats=3)
    assert await table.fill()
    ranks = sorted(range(3), key=lambda rank: table.winners()[rank] or 0)
    assert [table.words()[rank] for rank in ranks] == [[], ["same gang"], ["same gang", "same gang"]]
    assert [check_award(table.table.file_of(table.seats[rank])).place for rank in ranks] == [1, 2, 3]


async def test_a_choice_that_scatters_passes_over_what_is_near(autojump_clock: MockClock):
    table = Table(at(0, 100), at(1, 101), at(2, 102, "us"), scattered=True)
    assert await table.fill()
    assert sorted(one for one in table.winners() if one is not None) == [0, 2]
    assert sorted(table.words()) == [[], ["same gang", "not needed"]]
    for seat in table.seats:
        check_award(table.table.file_of(seat))


async def test_a_lease_is_kept_while_its_machine_is_still_chosen(autojump_clock: MockClock):
    first, last = (number for number in BY_KEY if number in (3, 7))
    table = Table(at(first, 100), at(last, 101, "us"), at(4, 102, "us"), scattered=True)
    table.sale.replies[SELLERS[last].key] = refuse
    assert await table.fill()
    assert set(table.winners()) == {first, 4}
    assert len(table.sale.awards) == 3
    assert table.let_go == []


async def test_a_seat_that_does_not_go_with_the_new_choice_is_left(autojump_clock: MockClock):
    """One in eu grants, the one in the us refuses. Left are another in eu and one in asia, in the network of the
    first: only those two go together."""
    near = ("/ip4/203.0.113.1/tcp/1/p2p/x",)
    far = ("/ip4/198.51.100.1/tcp/1/p2p/x",)
    granted, refusing = BY_KEY[0], BY_KEY[5]
    table = Table(
        an_offer_by(granted, price=100, region="eu", addresses=near),
        an_offer_by(refusing, price=101, region="us", addresses=far),
        an_offer_by(BY_KEY[2], price=102, region="eu", addresses=("/ip4/192.0.2.1/tcp/1/p2p/x",)),
        an_offer_by(BY_KEY[3], price=103, region="asia", addresses=("/ip4/203.0.113.2/tcp/1/p2p/x",)),
        scattered=True,
    )
    table.sale.replies[SELLERS[refusing].key] = refuse
    assert await table.fill()
    assert set(table.winners()) == {BY_KEY[2], BY_KEY[3]}
    assert [award.provider for award in table.let_go] == [SELLERS[granted].key]
    assert table.left_alone == [], "its book says that nothing is free there"
    for seat in table.seats:
        check_award(table.table.file_of(seat))


async def test_who_must_not_be_asked_is_left_alone_by_all(autojump_clock: MockClock):
    table = Table(at(0, 100), at(1, 101), at(2, 102), without={SELLERS[0].key})
    assert await table.fill()
    assert sorted(table.words()) == [["left alone"], ["left alone", "same gang"]]


async def test_a_machine_that_was_taken_meanwhile_is_not_asked_for(autojump_clock: MockClock):
    table = Table(at(0, 100), at(1, 101), at(2, 102))
    table.sale.intake.take(an_offer_by(0, price=100, version=2, free_slots=0))
    assert await table.fill()
    assert len(table.sale.awards) == 2
    assert sorted(table.words()) == [["gone"], ["gone", "same gang"]]


async def test_a_table_that_is_not_full_can_be_cleared(autojump_clock: MockClock):
    table = Table(at(0, 100), at(1, 101))
    last = next(number for number in reversed(BY_KEY) if number < 2)
    table.sale.replies[SELLERS[last].key] = refuse
    assert not await table.fill()
    table.table.clear()
    assert [award.provider for award in table.let_go] == [SELLERS[1 - last].key]
    assert table.winners() == [None, None]


async def test_what_was_granted_first_is_not_left_to_lapse_while_others_are_asked(autojump_clock: MockClock):
    """Sellers that do not answer cost more time than there is to pay the first."""
    table = Table(*(at(number, 100) for number in range(12)), seats=8)
    lapses_in_s = TERMS.fund_within_ms / 1000
    slow = [SELLERS[number].key for number in BY_KEY[1:]]
    request = table.sale.network.request

    async def answer(peer: bytes, protocol: str, body: bytes, **options: Any) -> bytes:
        if peer in slow and protocol == wire.PROTOCOL_AWARD:
            await trio.sleep(lapses_in_s / 5)
            raise PeerUnreachable("away")
        return await request(peer, protocol, body, **options)

    table.sale.network.request = answer  # type: ignore[method-assign]
    began = trio.current_time()
    assert not await table.fill()
    assert trio.current_time() - began <= 0.7 * lapses_in_s
