"""Books over real libp2p on loopback: a late joiner gets what there is, withdrawals too, and the dead stay dead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import cache

import pytest
import trio

from market.records import Offer
from market.signing import Verified
from node.libp2p_network import Libp2pNetwork, open_libp2p_network
from node.machine import Machine
from node.offer_intake import OfferIntake
from node.offer_poster import OfferPoster
from node.peer_exchange import PeerExchange
from node.system_clock import SystemClock
from tests.fakes.desks import machine_class
from tests.fakes.open_nodes import Opener, open_nodes
from tests.fakes.samples import a_signer, an_offer

DEADLINE_S = 30.0
MANY = 1_500
CLOCK = SystemClock()


@cache
def offers(count: int) -> tuple[Verified[Offer], ...]:
    """Live offers of so many providers, dated once."""
    now = CLOCK.now_ms()
    return tuple(
        signer.sign(
            an_offer(provider=signer.key, version=now, issued_at=now, expires_at=now + 300_000, images=("i" * 71,))
        )
        for signer in (a_signer(f"p{number}") for number in range(count))
    )


class Market:
    """Nodes on loopback that hear offers; ``running`` keeps their tasks."""

    def __init__(self, opener: Opener, running: trio.Nursery) -> None:
        self._opener, self._running = opener, running

    async def add(self, name: str, *introducers: Libp2pNetwork, book: Iterable[Verified[Offer]] = ()) -> Node:
        """Start a node that has heard these offers and knows these others."""
        known = tuple(address for other in introducers for address in other.addresses())
        network = await self._opener.open(
            open_libp2p_network(seed=name.encode().ljust(32, b"."), listen=("/ip4/127.0.0.1/tcp/0",), introducers=known)
        )
        node = Node(network)
        for offer in book:
            node.intake.take(offer)
        self._running.start_soon(node.run)
        return node

    async def close(self, node: Node) -> None:
        """Stop a node as a user would."""
        node.over.cancel()
        await self._opener.close(node.network)


class Node:
    """The listening half of a node."""

    def __init__(self, network: Libp2pNetwork) -> None:
        self.network = network
        self.intake, self.exchange = OfferIntake(network, CLOCK), PeerExchange(network)
        self.intake.register()
        self.exchange.register()
        self.over = trio.CancelScope()

    async def run(self) -> None:
        with self.over:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.exchange.exchange_forever)
                nursery.start_soon(self.intake.catch_up_forever)

    @property
    def ids(self) -> set[bytes]:
        return {offer.id for offer in self.intake.book.live(CLOCK.now_ms())}

    async def has(self, wanted: Iterable[Verified[Offer]]) -> None:
        """Return when the book holds exactly these offers."""
        ids = {offer.id for offer in wanted}
        with trio.fail_after(DEADLINE_S):
            while self.ids != ids:
                await trio.sleep(0.02)


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with open_nodes() as opener, trio.open_nursery() as running:
        yield Market(opener, running)
        running.cancel_scope.cancel()


async def test_a_late_joiner_has_the_whole_book_from_one_neighbour(market: Market) -> None:
    old = await market.add("old", book=offers(MANY))
    joiner = await market.add("joiner", old.network)
    await joiner.has(offers(MANY))
    assert joiner.intake.dropped == {}


async def test_a_late_joiner_puts_the_book_together_from_neighbours_that_have_parts_of_it(market: Market) -> None:
    first = await market.add("first", book=offers(MANY)[:1000])
    second = await market.add("second", first.network, book=offers(MANY)[500:])
    joiner = await market.add("joiner", first.network)
    for node in (joiner, first, second):
        await node.has(offers(MANY))


async def test_a_withdrawn_machine_is_dropped_at_once_and_does_not_come_back(market: Market) -> None:
    """One node is cut off before the seller stops: what it remembers must not become an offer again."""
    hub = await market.add("hub", book=offers(20))
    seller = await market.add("seller", hub.network)
    signer = a_signer("seller")
    assert signer.key == seller.network.key
    poster = OfferPoster([Machine(machine_class(), signer)], seller.network, seller.intake, CLOCK, signer=signer)
    async with trio.open_nursery() as posting:
        posting.start_soon(poster.post_forever)
        with trio.fail_after(DEADLINE_S):
            while len(hub.intake.book) != 21:
                await trio.sleep(0.02)
        (sold,) = (offer for offer in hub.intake.book.live(CLOCK.now_ms()) if offer.record.provider == signer.key)
        await poster.withdraw()
        posting.cancel_scope.cancel()
    await market.close(seller)
    await hub.has(offers(20))
    remembering = await market.add("remembering", hub.network, book=(*offers(20), sold))
    assert sold.id in remembering.ids
    for node in (await market.add("late", hub.network), remembering, hub):
        await node.has(offers(20))
        assert [gone.record.provider for gone in node.intake.book.tombstones(CLOCK.now_ms())] == [signer.key]
