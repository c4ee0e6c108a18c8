"""Who hears what when, in virtual time: late joiners, lost messages, partitions, withdrawals. Nothing is posted twice:
only the exchange of books can mend what gossip missed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import cache

import pytest
import trio

from market.records import Offer
from market.signing import Verified
from node import wire
from node.admission import pack_batch
from node.machine import withdrawal
from node.offer_intake import OfferIntake
from node.peer_exchange import PeerExchange
from node.ports import Network
from tests.fakes.memory_network import MemoryWorld
from tests.fakes.samples import a_signer, an_offer
from tests.simulation.marketplace import START_MS, Marketplace, Participant, SimulatedClock, simulate

JOINED_WITHIN_S = 3.0
EXCHANGE_S = 12.0
"""The longest pause between two exchanges, and an exchange."""
Scenario = Callable[["Town"], Awaitable[None]]


@cache
def offers(count: int) -> tuple[Verified[Offer], ...]:
    """Offers that live through a whole test."""
    signers = [a_signer(f"p{number}") for number in range(count)]
    dates = {"issued_at": START_MS, "expires_at": START_MS + 600_000}
    return tuple(signer.sign(an_offer(provider=signer.key, **dates)) for signer in signers)


class Listener:
    """A node that hears offers."""

    def __init__(self, network: Network) -> None:
        self.network, self.clock = network, SimulatedClock()
        self.intake, self.exchange = OfferIntake(network, self.clock), PeerExchange(network)
        self.intake.register()
        self.exchange.register()

    async def post(self, *posted: Verified[Offer]) -> None:
        """Say something once."""
        for offer in posted:
            self.intake.take(offer)
        await self.network.publish(wire.TOPIC_OFFERS, pack_batch(list(posted)))

    @property
    def ids(self) -> set[bytes]:
        return {offer.id for offer in self.intake.book.live(self.clock.now_ms())}

    async def has(self, wanted: Iterable[Verified[Offer]], *, within_s: float) -> None:
        """Return when the book holds exactly these."""
        ids = {offer.id for offer in wanted}
        with trio.fail_after(within_s):
            while self.ids != ids:
                await trio.sleep(0.01)


class Town:
    """Listeners in one simulated network."""

    def __init__(self, market: Marketplace, nursery: trio.Nursery) -> None:
        self.world: MemoryWorld = market.network
        self._nursery = nursery

    async def add(self, name: str, *known: Listener, book: Iterable[Verified[Offer]] = ()) -> Listener:
        """Start a node that has heard these offers and knows these others."""
        listener: Listener = await self._nursery.start(self._run, name, known, book)
        return listener

    async def _run(
        self,
        name: str,
        known: tuple[Listener, ...],
        book: Iterable[Verified[Offer]],
        task_status: trio.TaskStatus[Listener] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        introducers = tuple(address for other in known for address in other.network.addresses())
        async with (
            self.world.open(name.encode().ljust(32, b"."), introducers=introducers) as network,
            trio.open_nursery() as tasks,
        ):
            listener = Listener(network)
            for offer in book:
                listener.intake.take(offer)
            tasks.start_soon(listener.exchange.exchange_forever)
            tasks.start_soon(listener.intake.catch_up_forever)
            task_status.started(listener)


def in_town(seed: int, scenario: Scenario, **weather: object) -> None:
    async def main(market: Marketplace) -> None:
        async with trio.open_nursery() as nursery:
            await scenario(Town(market, nursery))
            nursery.cancel_scope.cancel()

    simulate(seed, main, **weather)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("neighbours", [1, 3, 8])
def test_a_late_joiner_has_the_full_book_within_three_seconds(seed: int, neighbours: int):
    async def scenario(town: Town) -> None:
        hub = await town.add("hub", book=offers(1_500))
        for number in range(neighbours - 1):
            await town.add(f"old{number}", hub, book=offers(1_500))
        await trio.sleep(60)
        joiner = await town.add("joiner", hub)
        await joiner.has(offers(1_500), within_s=JOINED_WITHIN_S)
        assert joiner.intake.dropped == {}

    in_town(seed, scenario, latency=(0.005, 0.1))


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_that_know_little_or_never_answer_do_not_keep_a_joiner_from_the_book(seed: int):
    async def scenario(town: Town) -> None:
        full = await town.add("full", book=offers(1_000))
        await trio.sleep(1)
        others = [await town.add(f"empty{number}") for number in range(3)]
        for number in range(3):
            silent = await town.add(f"silent{number}")
            silent.network.serve(wire.PROTOCOL_BOOK, _never, max_request=wire.MAX_BOOK_REQUEST)
            others.append(silent)
        joiner = await town.add("joiner", *others, full)
        await joiner.has(offers(1_000), within_s=JOINED_WITHIN_S)

    in_town(seed, scenario, latency=(0.005, 0.1))


async def _never(_peer: bytes, _question: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize("seed", range(3))
def test_what_gossip_loses_comes_with_the_next_exchange(seed: int):
    async def scenario(town: Town) -> None:
        hub = await town.add("hub")
        nodes = [hub, *[await town.add(f"n{number}", hub) for number in range(5)]]
        await trio.sleep(40)
        town.world.loss = 1.0
        await nodes[2].post(*offers(4))
        await trio.sleep(1)
        town.world.loss = 0.0
        assert sum(bool(node.ids) for node in nodes) == 1
        # One exchange may have been lost as well, and is waited for as long as any request.
        for node in nodes:
            await node.has(offers(4), within_s=EXCHANGE_S + wire.REQUEST_TIMEOUT_S)

    in_town(seed, scenario)


@pytest.mark.parametrize("seed", range(3))
def test_two_halves_of_a_market_know_everything_soon_after_they_meet_again(seed: int):
    async def scenario(town: Town) -> None:
        hub = await town.add("hub")
        left = [hub, await town.add("l1", hub)]
        right = [await town.add(f"r{number}", hub, left[1]) for number in range(2)]
        await trio.sleep(5)
        town.world.partition(tuple(node.network.key for node in right))
        await left[1].post(*offers(8)[:4])
        await right[0].post(*offers(8)[4:])
        await trio.sleep(120)
        assert {len(node.ids) for node in (*left, *right)} == {4}
        town.world.heal()
        for node in (*left, *right):
            await node.has(offers(8), within_s=JOINED_WITHIN_S)

    in_town(seed, scenario)


@pytest.mark.parametrize("seed", range(3))
def test_who_was_away_cannot_bring_a_withdrawn_offer_back(seed: int):
    signer, lasting = a_signer("p0"), offers(3)[1:]

    async def scenario(town: Town) -> None:
        hub = await town.add("hub")
        other = await town.add("other", hub)
        away = await town.add("away", hub)
        await trio.sleep(2)
        await hub.post(*offers(3))
        for node in (hub, other, away):
            await node.has(offers(3), within_s=1)
        town.world.partition((away.network.key,))
        gone = withdrawal(signer, offers(3)[0].record, hub.clock.now_ms())
        await hub.post(gone)
        for node in (hub, other):
            await node.has(lasting, within_s=1)
        await trio.sleep(60)
        assert away.ids == {offer.id for offer in offers(3)}
        late = await town.add("late", other)
        await late.has(lasting, within_s=JOINED_WITHIN_S)
        town.world.heal()
        await away.post(offers(3)[0])
        await away.has(lasting, within_s=JOINED_WITHIN_S)
        await trio.sleep(20)
        for node in (hub, other, away, late):
            assert node.ids == {offer.id for offer in lasting}
            assert [one.id for one in node.intake.book.tombstones(node.clock.now_ms())] == [gone.id]
            assert not [peer for peer in (hub, other, away, late) if node.network.refuses(peer.network.key)]

    in_town(seed, scenario)


def test_a_node_that_stops_takes_its_offers_back_and_one_that_crashes_does_not():
    async def scenario(market: Marketplace) -> None:
        polite, rude, watcher = (market.add(name) for name in ("polite", "rude", "watcher"))

        async def sell(seller: Participant, stop: trio.Event) -> None:
            async with seller.running():
                await stop.wait()

        async with market.introducing(), watcher.running() as node, trio.open_nursery() as nursery:

            def sellers() -> set[bytes]:
                return {offer.signer for offer in node.intake.book.live(watcher.clock.now_ms())}

            stop = trio.Event()
            for seller in (polite, rude):
                seller.sells(100)
                nursery.start_soon(sell, seller, stop if seller is polite else trio.Event())
            await trio.sleep(5)
            assert sellers() == {polite.signer.key, rude.signer.key}
            stop.set()
            rude.crash()
            await trio.sleep(1)
            assert sellers() == {rude.signer.key}
            nursery.start_soon(sell, polite, trio.Event())
            await trio.sleep(5)
            assert sellers() == {polite.signer.key, rude.signer.key}, "it sells again"
            nursery.cancel_scope.cancel()

    simulate(1, scenario)


@pytest.mark.parametrize("left", [[], [100]])
def test_a_machine_that_is_no_longer_for_sale_after_a_restart_is_withdrawn(left: list[int]):
    async def scenario(market: Marketplace) -> None:
        seller, watcher = market.add("seller"), market.add("watcher")
        seller.sells(100)
        seller.sells(200)

        async def sell() -> None:
            async with seller.running():
                await trio.sleep_forever()

        async with market.introducing(), watcher.running() as node, trio.open_nursery() as nursery:
            nursery.start_soon(sell)
            while len(node.intake.book) != 2:
                await trio.sleep(0.1)
            seller.crash()
            del seller.machine_classes[len(left) :]
            nursery.start_soon(sell)
            await trio.sleep(5)
            assert [one.record.price for one in node.intake.book.live(watcher.clock.now_ms())] == left
            nursery.cancel_scope.cancel()

    simulate(2, scenario)
