"""Auctions for several machines at once: all or none, in one order, and everything can be checked afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from market.errors import Unavailable
from market.records import Offer, RefusalReason
from market.signing import Verified
from market.transcript import check_award
from node import wire
from node.gang_auction import LEFT_ALONE_S, GangAuctioneer, GangOutcome
from tests.fakes import sales
from tests.fakes.sales import PURCHASE, SELLERS, Sale, a_rival_bid, an_offer_by, at_work, refuse
from tests.fakes.samples import SPEC, a_signer, offered_by
from tests.simulation.marketplace import START_MS

BY_KEY = sorted(range(len(SELLERS)), key=lambda number: SELLERS[number].key)
"""Numbers of the sellers in the order in which they are asked."""


class GangSale(Sale):
    """A sale to a gang."""

    async def buy_together(self, count: int = 3, **changes: Any) -> GangOutcome:
        is_wanted: Callable[[], bool] = changes.pop("is_wanted", lambda: True)
        scattered = changes.pop("scattered", False)
        purchases = [
            replace(PURCHASE, spec=replace(SPEC, env={"RANK": str(rank)}), salt=bytes([rank]) * 16, **changes)
            for rank in range(count)
        ]
        return await self.gangs.buy(purchases, self._tell, scattered=scattered, is_wanted=is_wanted)

    @property
    def gangs(self) -> GangAuctioneer:
        if not hasattr(self, "_gangs"):
            self._gangs = GangAuctioneer(self.auctioneer.hall)
        return self._gangs

    def asked_sellers(self) -> list[int]:
        return [next(n for n, one in enumerate(SELLERS) if one.key == award.record.provider) for award in self.awards]

    def given_back(self) -> set[int]:
        return {n for n, one in enumerate(SELLERS) if one.key in {peer for peer, _ in self.cancelled}}


@asynccontextmanager
async def a_gang_sale(count: int, **changes: Any) -> AsyncIterator[GangSale]:
    """So many sellers with two slots each, at 100, 101, …"""
    async with at_work(
        GangSale(*(an_offer_by(number, price=100 + number, **changes) for number in range(count)))
    ) as it:
        assert isinstance(it, GangSale)
        yield it


def winners(found: GangOutcome) -> list[int]:
    """The sellers by rank of the members."""
    keys = [outcome.lease.signer for outcome in found.won if outcome.lease is not None]
    return [next(n for n, one in enumerate(SELLERS) if one.key == key) for key in keys]


async def test_the_best_are_taken_asked_in_the_order_of_their_keys(autojump_clock: MockClock):
    async with a_gang_sale(5) as sale:
        found = await sale.buy_together()
    assert sorted(winners(found)) == [0, 1, 2]
    assert sale.asked_sellers() == [number for number in BY_KEY if number < 3]
    assert sale.cancelled == []


async def test_every_member_has_a_bid_and_a_spec_of_its_own(autojump_clock: MockClock):
    async with a_gang_sale(3) as sale:
        await sale.buy_together()
        await trio.sleep(1)
    awards = [award.record for award in sale.awards]
    assert len({award.bid_id for award in awards}) == len({award.spec_hash for award in awards}) == 3
    assert {bid.record.bid_id for batch in sale.bids() for bid in batch} == {award.bid_id for award in awards}


async def test_every_choice_can_be_checked(autojump_clock: MockClock):
    async with a_gang_sale(5) as sale:
        sale.replies[SELLERS[1].key] = refuse
        found = await sale.buy_together()
    assert sorted(winners(found)) == [0, 2, 3]
    checked = [check_award(outcome.file) for outcome in found.won if outcome.file is not None]
    assert sorted(one.place for one in checked) == [1, 3, 4]
    # The refusal is signed for one bid; to the others it is the gang's word.
    assert sum(one.refused for one in checked) <= 1
    assert all(one.refused + one.by_word == one.place - 1 for one in checked)


@pytest.mark.parametrize("count", [20, 40])
async def test_among_many_equal_offers_all_members_see_one_ranking(autojump_clock: MockClock, count: int):
    """More of them than a list holds, so that each ranking could hold others."""
    equal = [an_offer_by(number, price=100) for number in range(len(SELLERS))]
    more = [seller_offer(number) for number in range(count - len(SELLERS))]
    async with at_work(GangSale(*equal, *more)) as sale:
        assert isinstance(sale, GangSale)
        found = await sale.gangs.buy(
            [replace(PURCHASE, salt=bytes([rank]) * 16) for rank in range(3)],
            sale._tell,
            scattered=False,
            is_wanted=lambda: True,
        )
    lists = [[match.offer.id for match in outcome.shortlist.matches] for outcome in found.won]
    assert len(found.won) == 3
    assert lists[0] == lists[1] == lists[2]


def seller_offer(number: int) -> Verified[Offer]:
    """An offer of somebody who is none of the twelve."""
    signer = a_signer(f"another{number}")
    sales.BY_KEY[signer.key] = signer
    return offered_by(signer, price=100, issued_at=START_MS, expires_at=START_MS + 600_000)


async def test_when_too_few_are_left_all_is_given_back(autojump_clock: MockClock):
    asked = [number for number in BY_KEY if number < 3]
    async with a_gang_sale(3) as sale:
        sale.replies[SELLERS[asked[-1]].key] = refuse
        found = await sale.buy_together()
        await trio.sleep(1)
    assert (found.won, sale.asked_sellers(), sale.given_back()) == ((), asked, set(asked[:2]))
    assert len(found.shortlist.matches) == 3


async def test_where_there_are_too_few_nobody_is_asked_and_nothing_announced(autojump_clock: MockClock):
    async with a_gang_sale(2) as sale:
        found = await sale.buy_together()
        await trio.sleep(1)
    assert (found.won, sale.awards, sale.network.published, sale.told) == ((), [], [], [])


async def test_all_together_must_be_affordable(autojump_clock: MockClock):
    async with a_gang_sale(3) as sale:
        caps = sum(match.cap for match in (await sale.buy_together()).shortlist.matches)
    async with a_gang_sale(3) as sale:
        assert (await sale.buy_together(funds=caps - 1)).won == ()
        assert sale.awards == []
        assert len((await sale.buy_together(funds=caps)).won) == 3


async def test_a_gang_that_is_not_wanted_any_more_asks_nobody_else(autojump_clock: MockClock):
    async with a_gang_sale(3) as sale:
        found = await sale.buy_together(is_wanted=lambda: len(sale.awards) < 2)
        await trio.sleep(1)
    assert (found.won, len(sale.awards), sale.given_back()) == ((), 2, set(sale.asked_sellers()))


async def test_what_cannot_be_written_down_is_given_back(autojump_clock: MockClock):
    asked = [number for number in BY_KEY if number < 4]
    async with a_gang_sale(4) as sale:
        sale.replies[SELLERS[next(n for n in reversed(asked) if n < 3)].key] = refuse

        async def full(kind: str, detail: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            if kind == "refused":
                raise Unavailable("the disk is full", code="disk_full")

        sale._tell = full  # type: ignore[method-assign]
        with pytest.raises(Unavailable):
            await sale.buy_together()
        await trio.sleep(1)
    assert len(sale.awards) == 3
    assert sale.given_back() == set(sale.asked_sellers()[:2])


async def test_what_was_won_and_cannot_be_used_is_given_back(autojump_clock: MockClock):
    async with a_gang_sale(3) as sale:
        found = await sale.buy_together()
        sale.gangs.give_back(found.won)
        await trio.sleep(1)
    assert sale.given_back() == {0, 1, 2}


async def test_so_many_are_asked_and_no_more(autojump_clock: MockClock):
    async with a_gang_sale(12) as sale:
        for number in range(12):
            sale.replies[SELLERS[number].key] = lambda s, a: refuse(s, a, reason=RefusalReason.DRAINING)
        await sale.buy_together(2)
    assert len(sale.awards) == 2 + wire.MAX_AWARD_TRIES


async def test_who_refused_for_no_visible_reason_is_left_alone_for_a_while(autojump_clock: MockClock):
    def not_now(seller: Any, award: Any) -> Any:
        return refuse(seller, award, reason=RefusalReason.NOT_ADMITTED, free_slots=2)

    async with a_gang_sale(4) as sale:
        sale.replies[SELLERS[0].key] = not_now
        assert sorted(winners(await sale.buy_together(2))) == [1, 2]
        sale.awards.clear()
        again = await sale.buy_together(2)
        assert 0 not in sale.asked_sellers()
        assert [check_award(one.file).refused for one in again.won if one.file is not None] == [0, 0]
        await trio.sleep(LEFT_ALONE_S)
        sale.awards.clear()
        await sale.buy_together(2)
        assert 0 in sale.asked_sellers()


async def test_a_gang_among_many_bids_waits_for_them_and_counts_none_of_its_own(autojump_clock: MockClock):
    async with a_gang_sale(8, free_slots=1, total_slots=1) as sale:
        began = trio.current_time()
        await sale.buy_together(8)
        assert trio.current_time() == began, "its own eight bids are no crowd"
    async with a_gang_sale(8, free_slots=1, total_slots=1) as sale:
        sale.hear(*[a_rival_bid(number) for number in range(6)])
        began = trio.current_time()
        found = await sale.buy_together(2)
        assert trio.current_time() > began
    checked = [check_award(one.file) for one in found.won if one.file is not None]
    assert [one.rivals for one in checked] == [6, 6]
