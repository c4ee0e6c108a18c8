"""A network of nodes inside one process, for simulation: the same port, but time, loss and order come from a
seed.

:class:`MemoryWorld` is the weather (delay, loss, duplicates, partitions, crashes); :class:`MemoryNetwork` is
what one node sees of it. Under trio's ``MockClock`` nothing here waits in real time. Every pair of nodes
draws from a generator of its own, so one more message somewhere does not change the luck of all others. Where
two tasks act at the same instant, trio's scheduler decides who is first; seed it too for exact replays.

It is stricter than the real adapter where that helps a test: a bug in a handler (anything but the market's
own errors) fails the test instead of resetting a stream.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from bootstrap.identity import key_of_peer_id, key_of_seed, peer_id_of
from market.errors import BrokenInvariant, FabricError, PeerFault
from node.peer_budgets import GOSSIP_RATE, REQUEST_RATE, PeerBudgets
from node.ports import AnswerLost, Judge, PeerInfo, PeerUnreachable, RequestHandler, StreamHandler, Verdict
from node.wire import MAX_GOSSIP_BYTES, REQUEST_TIMEOUT_S
from tests.fakes.memory_stream import MemoryStream, stream_pair

_REDIAL_S = 1.0
_IN_FLIGHT = 10_000
_SEEN = 20_000
_AT_ONCE_PER_PEER = 16


class MemoryWorld:
    """All nodes and the weather between them. The three knobs may be turned at any time.

    Attributes:
        latency: shortest and longest one-way delay, seconds.
        loss: chance that a gossip message, a request or a response is lost (a lost one is a time-out).
        duplicate: chance that one arrives twice (a request then runs its handler twice).
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        latency: tuple[float, float] = (0.001, 0.010),
        loss: float = 0.0,
        duplicate: float = 0.0,
    ) -> None:
        self.latency, self.loss, self.duplicate = latency, loss, duplicate
        self._seed = seed
        self._luck: dict[tuple[bytes, bytes], random.Random] = {}
        self._nodes: dict[bytes, MemoryNetwork] = {}
        self._links: dict[frozenset[bytes], Link] = {}
        self._group: dict[bytes, int] = {}

    @asynccontextmanager
    async def open(self, seed: bytes, *, introducers: tuple[str, ...] = ()) -> AsyncIterator[MemoryNetwork]:
        """Run a node with this key. :meth:`crash` cancels the body of this block, as a power cut would."""
        node = MemoryNetwork(self, key_of_seed(seed))
        if node.key in self._nodes:
            raise BrokenInvariant("two nodes with one key at the same time")
        try:
            async with trio.open_nursery() as nursery:
                self._nodes[node.key] = node
                node.start(nursery, introducers)
                yield node
                nursery.cancel_scope.cancel()
        finally:
            self._gone(node)

    def crash(self, key: bytes) -> None:
        """Stop a node this instant: its tasks are cancelled, its streams break, what was in flight is
        lost."""
        node = self._nodes[key]
        self._gone(node)
        node.nursery.cancel_scope.cancel()

    def partition(self, *groups: tuple[bytes, ...]) -> None:
        """Cut the world: nodes of different groups cannot reach each other; all unnamed nodes form one
        group."""
        self._group = {key: number for number, group in enumerate(groups, 1) for key in group}
        for pair, link in list(self._links.items()):
            if not self._same_side(*pair):
                self._drop(pair, link)

    def heal(self) -> None:
        """End the partition. Nodes find each other again when they next dial."""
        self._group = {}

    def link(self, one: bytes, other: bytes) -> Link | None:
        """The live connection between two nodes."""
        return self._links.get(frozenset((one, other)))

    def disconnect(self, one: bytes, other: bytes) -> None:
        """Break the connection between two nodes, if there is one."""
        pair = frozenset((one, other))
        if link := self._links.get(pair):
            self._drop(pair, link)

    async def dial(self, caller: MemoryNetwork, peer: bytes) -> Link:
        """Connect two nodes: one round trip, an endless wait across a partition, a quick refusal from a
        dead node."""
        await trio.sleep(2 * self.delay(caller.key, peer))
        if not self._same_side(caller.key, peer):
            await trio.sleep_forever()
        target = self._nodes.get(peer)
        if self._nodes.get(caller.key) is not caller or target is None or target.refuses(caller.key):
            raise PeerUnreachable("connection refused")
        link = self._links.setdefault(frozenset((caller.key, peer)), Link(caller, target))
        target.learn(caller.key, caller.addresses())
        return link

    def delay(self, sender: bytes, receiver: bytes) -> float:
        """One draw of the one-way delay, seconds."""
        return self._random(sender, receiver).uniform(*self.latency)

    def arrivals(self, sender: bytes, receiver: bytes) -> list[float]:
        """The delays at which one message arrives: none when it is lost, two when it is duplicated."""
        luck = self._random(sender, receiver)
        lost, doubled = luck.random() < self.loss, luck.random() < self.duplicate
        return [] if lost else [self.delay(sender, receiver) for _ in range(2 if doubled else 1)]

    def neighbours(self, key: bytes) -> list[MemoryNetwork]:
        """The nodes connected to this one, oldest connection first."""
        return [self._nodes[next(iter(pair - {key}))] for pair in self._links if key in pair]

    def _random(self, sender: bytes, receiver: bytes) -> random.Random:
        pair = (sender, receiver)
        if pair not in self._luck:
            self._luck[pair] = random.Random(f"{self._seed}/{sender.hex()}/{receiver.hex()}")
        return self._luck[pair]

    def _same_side(self, *keys: bytes) -> bool:
        return len({self._group.get(key, 0) for key in keys}) == 1

    def _drop(self, pair: frozenset[bytes], link: Link) -> None:
        del self._links[pair]
        link.break_now()

    def _gone(self, node: MemoryNetwork) -> None:
        if self._nodes.get(node.key) is node:
            del self._nodes[node.key]
            for pair, link in [(pair, link) for pair, link in self._links.items() if node.key in pair]:
                self._drop(pair, link)


class Link:
    """A connection: what breaks with it."""

    def __init__(self, one: MemoryNetwork, other: MemoryNetwork) -> None:
        self.is_up = True
        self.ends = {one.key: one, other.key: other}
        self.streams: list[MemoryStream] = []
        self.exchanges: list[_Exchange] = []

    def break_now(self) -> None:
        self.is_up = False
        for stream in self.streams:
            stream.break_now()
        for exchange in self.exchanges:
            exchange.settle(None)


class _Exchange:
    """One request waiting for its response; ``None`` stands for a reset."""

    def __init__(self) -> None:
        self.settled = trio.Event()
        self.response: bytes | None = None

    def settle(self, response: bytes | None) -> None:
        if not self.settled.is_set():
            self.response = response
            self.settled.set()


class MemoryNetwork:
    """The network port of one simulated node. Made by :meth:`MemoryWorld.open`."""

    def __init__(self, world: MemoryWorld, key: bytes) -> None:
        self._world, self._key = world, key
        self._book: dict[bytes, tuple[str, ...]] = {}
        self._topics: dict[str, tuple[Judge, Callable[[bytes, bytes], None]]] = {}
        self._handlers: dict[str, tuple[RequestHandler, int]] = {}
        self._stream_handlers: dict[str, StreamHandler] = {}
        self._budgets = PeerBudgets()
        self._at_once: dict[bytes, trio.Semaphore] = {}
        self._dialing: dict[bytes, trio.Event] = {}
        self._seen: OrderedDict[tuple[bytes, int], None] = OrderedDict()
        self._published = 0
        self._in_flight = 0
        self.nursery: trio.Nursery

    def start(self, nursery: trio.Nursery, introducers: tuple[str, ...]) -> None:
        self.nursery = nursery
        for address in introducers:
            self._book[_key_of(address)] = (address,)
        nursery.start_soon(self._keep_connected)

    # --- the port
    # ---------------------------------------------------------------------------------------------

    @property
    def key(self) -> bytes:
        return self._key

    def addresses(self) -> tuple[str, ...]:
        return (_address_of(self._key),)

    def peers(self) -> list[PeerInfo]:
        rtt_us = int(sum(self._world.latency) * 1_000_000)
        return [
            PeerInfo(key=node.key, peer_id=peer_id_of(node.key), addresses=node.addresses(), rtt_us=rtt_us)
            for node in self._world.neighbours(self._key)
        ]

    def learn(self, peer: bytes, addresses: tuple[str, ...]) -> None:
        if peer != self._key and _address_of(peer) in addresses:
            self._book[peer] = (_address_of(peer),)

    def subscribe(self, topic: str, judge: Judge, deliver: Callable[[bytes, bytes], None]) -> None:
        self._topics[topic] = (judge, deliver)

    async def publish(self, topic: str, message: bytes) -> None:
        if len(message) > MAX_GOSSIP_BYTES:
            raise ValueError("gossip message over the size limit")
        self._published += 1
        # A restarted node must not repeat numbers that others still remember: time is part of the number.
        name = (self._key, int(trio.current_time() * 1e6) * 1000 + self._published)
        self._remember(name)
        self._flood(topic, message, name, skip=self._key)
        await trio.lowlevel.checkpoint()

    def serve(self, protocol: str, handler: RequestHandler, *, max_request: int) -> None:
        self._handlers[protocol] = (handler, max_request)

    def serve_stream(self, protocol: str, handler: StreamHandler) -> None:
        self._stream_handlers[protocol] = handler

    async def request(
        self, peer: bytes, protocol: str, request: bytes, *, timeout: float, max_response: int = 65536
    ) -> bytes:
        exchange = _Exchange()
        link: Link | None = None
        with trio.move_on_after(timeout):
            link = await self._linked(peer)
            link.exchanges.append(exchange)
            try:
                other = link.ends[peer]
                self._post(other, partial(other._answer, link, self, protocol, request, exchange))
                await exchange.settled.wait()
            finally:
                link.exchanges.remove(exchange)
        if exchange.response is None or len(exchange.response) > max_response:
            raise (AnswerLost if link else PeerUnreachable)(f"no answer on {protocol}")
        return exchange.response

    async def open_stream(self, peer: bytes, protocol: str) -> MemoryStream:
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            link = await self._linked(peer)
            other = link.ends[peer]
            out, back = partial(self._world.delay, self.key, peer), partial(self._world.delay, peer, self.key)
            near, far = stream_pair(self._key, peer, out, back)
            await trio.sleep(out() + back())
            if link.is_up and protocol in other._stream_handlers:
                link.streams = [stream for stream in link.streams if not stream.is_over] + [near]
                other.nursery.start_soon(other._serve_stream, other._stream_handlers[protocol], far)
                return near
        raise PeerUnreachable(f"no stream on {protocol}")

    def penalise(self, peer: bytes, reason: str) -> None:
        if self._budgets.penalise(peer, trio.current_time()):
            self._world.disconnect(self._key, peer)

    # --- behind the port
    # ---------------------------------------------------------------------------------------

    def refuses(self, peer: bytes) -> bool:
        return self._budgets.is_banned(peer, trio.current_time())

    async def _keep_connected(self) -> None:
        while True:
            for peer in sorted(self._book):
                with trio.move_on_after(_REDIAL_S):
                    try:
                        await self._linked(peer)
                    except PeerUnreachable:
                        continue
            await trio.sleep(_REDIAL_S)

    async def _linked(self, peer: bytes) -> Link:
        if peer == self._key or self.refuses(peer):
            raise PeerUnreachable("that is ourselves, or banned")
        if link := self._world.link(self._key, peer):
            await trio.lowlevel.checkpoint()
            return link
        if peer not in self._book:
            raise PeerUnreachable("no address of that peer is known")
        if peer in self._dialing:
            await self._dialing[peer].wait()
            return await self._linked(peer)
        self._dialing[peer] = trio.Event()
        try:
            return await self._world.dial(self, peer)
        finally:
            self._dialing.pop(peer).set()

    def _post(self, receiver: MemoryNetwork, act: Callable[[], Awaitable[None]]) -> None:
        for delay in self._world.arrivals(self._key, receiver.key):
            if receiver._in_flight < _IN_FLIGHT:
                receiver._in_flight += 1
                receiver.nursery.start_soon(receiver._arrive, delay, act)

    async def _arrive(self, delay: float, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await trio.sleep(delay)
            await act()
        finally:
            self._in_flight -= 1

    async def _answer(
        self, link: Link, caller: MemoryNetwork, protocol: str, request: bytes, exchange: _Exchange
    ) -> None:
        response: bytes | None = None
        handler, max_request = self._handlers.get(protocol, (None, 0))
        if not link.is_up:
            return
        if handler and len(request) > max_request:
            self.penalise(caller.key, "oversized request")
        elif handler and self._budgets.allow(caller.key, REQUEST_RATE, trio.current_time()):
            async with self._at_once.setdefault(caller.key, trio.Semaphore(_AT_ONCE_PER_PEER)):
                try:
                    response = await handler(caller.key, request)
                except PeerFault as fault:
                    self.penalise(caller.key, fault.code)
                except FabricError:
                    pass
        if link.is_up:
            self._post(caller, partial(_settle, exchange, response))

    async def _serve_stream(self, handler: StreamHandler, stream: MemoryStream) -> None:
        try:
            await handler(stream)
            await stream.aclose()
        except PeerFault as fault:
            stream.break_now()
            self.penalise(stream.peer, fault.code)
        except (FabricError, PeerUnreachable):
            stream.break_now()

    def _flood(self, topic: str, message: bytes, name: tuple[bytes, int], *, skip: bytes) -> None:
        for node in self._world.neighbours(self._key):
            if node.key not in (skip, name[0]) and topic in node._topics:
                self._post(node, partial(node._hear, self._key, topic, message, name))

    async def _hear(self, forwarder: bytes, topic: str, message: bytes, name: tuple[bytes, int]) -> None:
        allowed = self._budgets.allow(forwarder, GOSSIP_RATE, trio.current_time())
        if name in self._seen or not allowed or self.refuses(forwarder):
            return
        judge, deliver = self._topics[topic]
        verdict = judge(forwarder, message)
        if verdict is Verdict.POSTPONE:
            return
        self._remember(name)
        if verdict is Verdict.REJECT:
            self.penalise(forwarder, "rejected gossip")
        elif verdict is Verdict.ACCEPT:
            deliver(forwarder, message)
            self._flood(topic, message, name, skip=forwarder)

    def _remember(self, name: tuple[bytes, int]) -> None:
        self._seen[name] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)


async def _settle(exchange: _Exchange, response: bytes | None) -> None:
    exchange.settle(response)


def _address_of(key: bytes) -> str:
    return f"/memory/{int.from_bytes(key[:6], 'big')}/p2p/{peer_id_of(key)}"


def _key_of(address: str) -> bytes:
    return key_of_peer_id(address.rpartition("/")[2])
