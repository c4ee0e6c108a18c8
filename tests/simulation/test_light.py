"""A light client among real intakes that gossip in virtual time: it sees the market, accuses no honest peer, and names
the one that lies."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio._core._run as trio_run
from msgspec.structs import replace
from trio.testing import MockClock

from market import codec
from market.errors import Unavailable
from market.price_history import STEP_MS
from market.records import Offer
from market.signing import Signer, verify
from node import wire
from node.admission import pack_batch
from node.history_desk import HistoryAnswer, HistoryDesk, HistoryRequest
from node.light_client import LightClient, Report
from node.offer_intake import OfferIntake
from node.peer_exchange import PeerExchange
from node.public_desk import PublicDesk
from tests.fakes.memory_network import MemoryNetwork, MemoryWorld, _address_of
from tests.fakes.samples import a_bid, a_signer, an_offer
from tests.simulation.marketplace import SimulatedClock

Tamper = Callable[[list[bytes]], list[bytes]]
"""What a liar does to the envelopes of each page of its book."""


class Node:
    """One peer: an honest intake, and for a liar a mouth of its own."""

    def __init__(self, town: Town, name: str, tamper: Tamper | None) -> None:
        self.town, self.name = town, name
        self.signer: Signer = a_signer(name)
        self.tamper = tamper
        self.network: MemoryNetwork
        self.intake: OfferIntake
        self.prices: HistoryDesk
        self.version = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        introducers = () if self.name == "first" else (self.town.address,)
        async with self.town.world.open(self.name.encode().ljust(32, b"."), introducers=introducers) as network:
            self.network = network
            self.intake = OfferIntake(network, self.town.clock)
            self.prices = HistoryDesk(network, self.town.clock, self.intake.book.live, path=None)
            exchange = PeerExchange(network)
            for part in (self.intake, self.prices, exchange):
                part.register()
            PublicDesk(network, self.town.clock, self.intake.bids_heard.values).register()
            if self.tamper is not None:
                self._lie(self.tamper)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.intake.catch_up_forever)
                nursery.start_soon(exchange.exchange_forever)
                yield
                nursery.cancel_scope.cancel()

    def _lie(self, tamper: Tamper) -> None:
        honest, _ = self.network._handlers[wire.PROTOCOL_BOOK]

        async def answer(peer: bytes, question: bytes) -> bytes:
            page = codec.unpack_list(await honest(peer, question), limit=wire.MAX_RESPONSE)
            return codec.pack([page[0], *tamper(page[1:])] if page else [])

        self.network.serve(wire.PROTOCOL_BOOK, answer, max_request=wire.MAX_BOOK_REQUEST)

    async def post(self, price: int, machine: str = "m0", **changes: object) -> None:
        """Say an offer, or say it anew."""
        self.version += 1
        now = self.town.clock.now_ms()
        offer = self.signer.sign(
            replace(
                an_offer(provider=self.signer.key, machine=machine, version=self.version, price=price),
                issued_at=now,
                expires_at=now + wire.OFFER_TTL_MS,
                **changes,
            )
        )
        self.intake.take(offer)
        await self.network.publish(wire.TOPIC_OFFERS, pack_batch([offer]))


class Town:
    """Peers who all know each other through the first."""

    def __init__(self, seed: int, **weather: object) -> None:
        self.world = MemoryWorld(seed, **weather)  # type: ignore[arg-type]
        self.clock = SimulatedClock()
        self.luck = random.Random(seed)
        self.nodes: dict[str, Node] = {}
        self.address = _address_of(a_signer("first").key)
        self.looks = 0

    @asynccontextmanager
    async def of(self, *names: str, liar: Tamper | None = None) -> AsyncIterator[list[Node]]:
        """Run peers; the last of them lies if there is a liar."""
        async with trio.open_nursery() as nursery:
            for name in names:
                node = self.nodes[name] = Node(self, name, liar if name == names[-1] else None)
                await nursery.start(_stay, node)
            await trio.sleep(5)
            yield [self.nodes[name] for name in names]
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def visitor(self) -> AsyncIterator[LightClient]:
        """A light client nobody has seen before."""
        self.looks += 1
        async with self.world.open(f"visitor{self.looks}".encode().ljust(32, b".")) as network:
            yield LightClient(network, self.clock, (self.address,), luck=self.luck)

    async def look(self) -> tuple[dict[str, int], dict[str, Report]]:
        """Prices seen by provider, and reports by peer."""
        async with self.visitor() as client:
            sightings, reports = await client.offers()
        names = {node.signer.key: name for name, node in self.nodes.items()}
        prices = {names[one.offer.signer]: one.offer.record.price for one in sightings}
        return prices, {names[report.peer]: report for report in reports}


async def _stay(node: Node, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    async with node.running():
        task_status.started()
        await trio.sleep_forever()


def play(scenario: Callable[[Town], object], seed: int = 1, **weather: object) -> None:
    """Run a scenario in virtual time with a seeded scheduler."""
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True
    trio_run._r.seed(seed)

    async def main() -> None:
        with trio.fail_after(24 * 3600):
            await scenario(Town(seed, **weather))  # type: ignore[misc]

    trio.run(main, clock=MockClock(autojump_threshold=0))


def blamed(reports: dict[str, Report]) -> dict[str, str]:
    """Who is said to do what."""
    said = {}
    for name, report in reports.items():
        deeds = [("hides", report.hides), ("stale", report.stale), ("forges", report.forged)]
        if done := ",".join(deed for deed, found in deeds if found):
            said[name] = done
    return said


def test_a_visitor_sees_what_all_see_and_blames_nobody() -> None:
    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "c") as (first, a, b, _):
            await a.post(10)
            await b.post(20)
            await first.post(30)
            await trio.sleep(4)
            prices, reports = await town.look()
            assert prices == {"a": 10, "b": 20, "first": 30}
            assert all(report.answered and report.complete and report.shown == 3 for report in reports.values())
            assert len(reports) == 4
            assert blamed(reports) == {}

    play(scenario)


@pytest.mark.parametrize("seed", range(3))
def test_honest_peers_are_never_blamed_whatever_is_under_way(seed: int) -> None:
    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "c", "d", "e") as nodes, trio.open_nursery() as nursery:

            async def trade(node: Node) -> None:
                price = 100
                while True:
                    price += town.luck.choice((-5, 0, 0, 5))
                    await node.post(price, withdrawn=town.luck.random() < 0.15)
                    await trio.sleep(town.luck.uniform(1, 25))

            for node in nodes:
                nursery.start_soon(trade, node)
            for _ in range(20):
                await trio.sleep(town.luck.uniform(0, 10))
                _, reports = await town.look()
                assert blamed(reports) == {}
            nursery.cancel_scope.cancel()

    play(scenario, seed, latency=(0.005, 0.15))


def test_a_peer_that_hides_a_provider_is_named() -> None:
    victim = a_signer("a").key

    def hide(envelopes: list[bytes]) -> list[bytes]:
        return [raw for raw in envelopes if verify(raw, Offer).record.provider != victim]

    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "liar", liar=hide) as (_, a, b, _liar):
            await a.post(10)
            await b.post(20)
            await trio.sleep(4)
            prices, reports = await town.look()
            assert prices == {"a": 10, "b": 20}
            assert blamed(reports) == {"liar": "hides"}
            (hidden,) = reports["liar"].hides
            assert hidden.true.record.provider == victim

    play(scenario)


def test_of_two_peers_the_one_that_hides_is_named() -> None:
    async def scenario(town: Town) -> None:
        async with town.of("first", "liar", liar=lambda envelopes: []) as (first, _):
            far = Node(town, "far", None)
            far.intake, far.network = first.intake, first.network
            town.nodes["far"] = far
            await far.post(10)
            await trio.sleep(4)
            prices, reports = await town.look()
            assert prices == {"far": 10}
            assert blamed(reports) == {"liar": "hides"}

    play(scenario)


def test_a_peer_that_forges_a_price_is_named_and_not_believed() -> None:
    def forge(envelopes: list[bytes]) -> list[bytes]:
        forged = []
        for raw in envelopes:
            envelope = codec.unpack(raw)
            body = codec.pack({**codec.unpack(envelope["body"]), "price": 1})
            forged.append(codec.pack({**envelope, "body": body}))
        return forged

    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "liar", liar=forge) as (_, a, b, _liar):
            await a.post(10)
            await b.post(20)
            await trio.sleep(4)
            prices, reports = await town.look()
            assert prices == {"a": 10, "b": 20}
            assert blamed(reports)["liar"].endswith("forges")
            assert set(blamed(reports)) == {"liar"}
            assert reports["liar"].forged == {"bad_signature": 2}

    play(scenario)


def test_a_peer_that_shows_old_versions_is_named_and_the_new_price_counts() -> None:
    kept: dict[bytes, bytes] = {}

    def remember(envelopes: list[bytes]) -> list[bytes]:
        return [kept.setdefault(verify(raw, Offer).record.provider, raw) for raw in envelopes]

    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "liar", liar=remember) as (_, a, b, _liar):
            await a.post(10)
            await b.post(20)
            await trio.sleep(4)
            assert blamed((await town.look())[1]) == {}
            await a.post(15)
            await trio.sleep(4)
            prices, reports = await town.look()
            assert prices == {"a": 15, "b": 20}
            assert blamed(reports) == {"liar": "stale"}
            (stale,) = reports["liar"].stale
            assert (stale.true.record.price, stale.shown.record.price if stale.shown else 0) == (15, 10)

    play(scenario)


def test_a_peer_that_shows_what_was_withdrawn_is_named() -> None:
    kept: list[bytes] = []

    def remember(envelopes: list[bytes]) -> list[bytes]:
        kept.extend(envelopes if not kept else [])
        return kept

    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "liar", liar=remember) as (_, a, b, _liar):
            await a.post(10)
            await trio.sleep(4)
            await town.look()
            await a.post(10, withdrawn=True)
            await b.post(20)
            await trio.sleep(4)
            prices, reports = await town.look()
            assert prices == {"b": 20}
            assert blamed(reports) == {"liar": "hides,stale"}

    play(scenario)


def test_a_peer_that_shows_what_is_long_over_is_named() -> None:
    kept: list[bytes] = []

    def remember(envelopes: list[bytes]) -> list[bytes]:
        kept.extend(envelopes if not kept else [])
        return sorted({*kept, *envelopes})

    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b", "liar", liar=remember) as (_, a, b, _liar):
            await a.post(10)
            await trio.sleep(4)
            await town.look()
            await trio.sleep((wire.OFFER_TTL_MS + 2 * wire.MAX_CLOCK_SKEW_MS) / 1000)
            await b.post(20, machine="m1")
            await b.post(21, machine="m2")
            await trio.sleep(4)
            prices, reports = await town.look()
            assert set(prices) == {"b"}
            assert blamed(reports) == {"liar": "stale"}

    play(scenario)


@pytest.mark.parametrize("minutes", [-10, 2, 10])
def test_a_wrong_clock_is_suspected_before_all_peers_are(minutes: int) -> None:
    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "b") as (_, a, b):
            await a.post(10)
            await b.post(20)
            await trio.sleep(4)
            town.clock.skew_ms = minutes * 60_000
            async with town.visitor() as client:
                sightings, reports = await client.offers()
            assert (sightings, client.clock_is_doubtful) == ([], True)
            assert [report.stale for report in reports] == [[], [], []]

    play(scenario)


def test_a_lone_peer_is_read_and_nobody_is_an_error() -> None:
    async def scenario(town: Town) -> None:
        async with town.of("first") as (first,):
            await first.post(10)
            prices, reports = await town.look()
            assert prices == {"first": 10}
            assert [report.answered for report in reports.values()] == [True]
        with pytest.RaisesGroup(Unavailable, flatten_subgroups=True):
            await town.look()

    play(scenario)


def test_bids_and_history_are_checked_and_joined() -> None:
    async def scenario(town: Town) -> None:
        async with town.of("first", "a", "liar") as (first, a, liar):
            bid = a.signer.sign(
                replace(
                    a_bid(requester=a.signer.key),
                    issued_at=town.clock.now_ms(),
                    expires_at=town.clock.now_ms() + 60_000,
                )
            )
            await a.network.publish(wire.TOPIC_BIDS, pack_batch([bid]))
            await a.post(10)
            await trio.sleep(4)
            await liar.post(30)
            await trio.sleep(4)
            for node in (first, a, liar):
                await node.prices._look()

            async def forge(peer: bytes, request: bytes) -> bytes:
                honest = liar.prices.history.bars()
                return codec.pack_record(HistoryAnswer(bars=tuple(replace(bar, lowest=1) for bar in honest)))

            async def babble(peer: bytes, request: bytes) -> bytes:
                return codec.pack([b"bid"])

            liar.network.serve(wire.PROTOCOL_HISTORY, forge, max_request=512)
            liar.network.serve(wire.PROTOCOL_BIDS, babble, max_request=64)
            async with town.visitor() as client:
                bids, reports = await client.bids()
                assert [one.id for one in bids] == [bid.id]
                assert {report.peer for report in reports if report.forged} == {liar.signer.key}
                bars, reports = await client.history(HistoryRequest(step_ms=STEP_MS))
                assert [(bar.gpu, bar.lowest, bar.dearest) for bar in bars] == [("RTX4090", 10, 30)]
                assert {report.peer: dict(report.forged) for report in reports if report.forged} == {
                    liar.signer.key: {"bad_history": 1}
                }

    play(scenario)
