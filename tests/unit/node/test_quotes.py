"""Quotes over the simulated network: asked at once, answered in time or not at all, never above the tag."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from bootstrap.identity import peer_id_of
from market import codec
from market.decision import decide
from market.offer_book import OfferBook
from market.records import Requirements
from market.signing import Signer
from node import wire
from node.machine import Machine
from node.quotes import PATIENCE_S, QuoteDesk, QuoteRequest, ask_for_quotes
from tests.fakes.desks import machine_class
from tests.fakes.memory_network import MemoryNetwork, MemoryWorld
from tests.fakes.samples import BUYER, NOW, a_bid, an_ask, some_limits

SEEDS = [bytes([number]) * 32 for number in range(1, 5)]
ME = b"m" * 32
"""The buyer's seed on the network; its bids are signed with the same."""


class FixedClock:
    def now_ms(self) -> int:
        return NOW


class Stall:
    """One provider on the network, with one machine at ``price``."""

    def __init__(self, network: MemoryNetwork, seed: bytes, price: int, discount: int) -> None:
        signer = Signer.from_seed(seed)
        self.machine = Machine(machine_class(price=price, slots=2, quote_discount=discount), signer)
        self.offer = self.machine.post(NOW, ())
        machines = {self.machine.description.name: self.machine}
        self.desk = QuoteDesk(machines, signer=signer, network=network, clock=FixedClock())
        self.desk.register()


@asynccontextmanager
async def a_market(*discounts: int, latency: float = 0.01) -> AsyncIterator[tuple[MemoryNetwork, list[Stall]]]:
    world = MemoryWorld(1, latency=(latency, latency))
    async with world.open(ME) as here, trio.open_nursery() as nursery:
        there = (f"/memory/0/p2p/{peer_id_of(here.key)}",)
        stalls: list[Stall] = []

        async def provide(number: int, task_status: trio.TaskStatus[None]) -> None:
            async with world.open(SEEDS[number], introducers=there) as network:
                stalls.append(Stall(network, SEEDS[number], 1_000 + number, discounts[number]))
                task_status.started()
                await trio.sleep_forever()

        for number in range(len(discounts)):
            await nursery.start(provide, number)
        await trio.sleep(2)
        yield here, stalls
        nursery.cancel_scope.cancel()


def matches(stalls: list[Stall]) -> tuple[OfferBook, list[object]]:
    book = OfferBook(max_skew_ms=60_000)
    for stall in stalls:
        book.take(stall.offer, NOW)
    return book, list(decide(book, an_ask(limits=some_limits(max_price=10**9)), now=NOW).matches)


BID = Signer.from_seed(ME).sign(a_bid(requester=Signer.from_seed(ME).key))


async def test_those_who_quote_are_heard_and_the_lowest_wins(autojump_clock: MockClock):
    async with a_market(0, 300, 100) as (here, stalls):
        book, found = matches(stalls)
        quotes = await ask_for_quotes(here, FixedClock(), BID, found)  # type: ignore[arg-type]
        assert sorted(quote.record.price for quote in quotes) == [701, 902]
        ask = an_ask(limits=some_limits(max_price=10**9))
        best = decide(book, ask, now=NOW, quotes=quotes).matches[0]
        assert (best.price, best.offer) == (701, stalls[1].offer)


async def test_a_slow_network_costs_no_more_than_the_patience(autojump_clock: MockClock):
    async with a_market(300, latency=0.2) as (here, stalls):
        began = trio.current_time()
        assert await ask_for_quotes(here, FixedClock(), BID, matches(stalls)[1]) == []  # type: ignore[arg-type]
        assert trio.current_time() - began == pytest.approx(PATIENCE_S)


async def test_only_the_bidder_may_ask(autojump_clock: MockClock):
    async with a_market(300) as (here, stalls):
        stranger = BUYER.sign(a_bid())
        assert await ask_for_quotes(here, FixedClock(), stranger, matches(stalls)[1]) == []  # type: ignore[arg-type]


async def test_nothing_is_quoted_for_what_is_not_there(autojump_clock: MockClock):
    async with a_market(300) as (here, stalls):
        signer = Signer.from_seed(ME)
        large = signer.sign(a_bid(requester=signer.key, requirements=Requirements(slots=3)))
        assert await ask_for_quotes(here, FixedClock(), large, matches(stalls)[1]) == []  # type: ignore[arg-type]
        stalls[0].machine.draining = True
        assert await ask_for_quotes(here, FixedClock(), BID, matches(stalls)[1]) == []  # type: ignore[arg-type]


async def test_nobody_goes_below_the_floor_and_nothing_is_signed_that_is_no_less_than_the_tag(
    autojump_clock: MockClock,
):
    async with a_market(900) as (here, stalls):
        machine = stalls[0].machine
        machine.description = replace(machine.description, floor=990)
        (quote,) = await ask_for_quotes(here, FixedClock(), BID, matches(stalls)[1])  # type: ignore[arg-type]
        assert quote.record.price == 990
        machine.description = replace(machine.description, floor=1_000)
        request = codec.pack_record(QuoteRequest(bid=BID.raw, machine="m0", offer_id=stalls[0].offer.id))
        assert codec.unpack(await stalls[0].desk._answer(here.key, request)) == {}


async def test_rubbish_is_no_quote(autojump_clock: MockClock):
    async def lie(peer: bytes, request: bytes) -> bytes:
        return codec.pack({"quote": b"rubbish"})

    async with a_market(300) as (here, stalls):
        stalls[0].desk._network.serve(wire.PROTOCOL_QUOTE, lie, max_request=4096)
        assert await ask_for_quotes(here, FixedClock(), BID, matches(stalls)[1]) == []  # type: ignore[arg-type]
