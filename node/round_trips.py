"""How far providers are: timed on our own request stream, in microseconds.

The library's ping counts whole milliseconds, and a peer of the same city is nearer than that. The least of a few tries
counts: everything that disturbs a measurement makes it longer. Measured are providers in the book, the least recently
measured first, a few at a time; nobody is asked more often than every :data:`MEASURE_EVERY_S`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

import trio

from bootstrap.containment import contained
from market.errors import PeerFault
from node import wire
from node.peer_budgets import PeerBudgets, Rate
from node.ports import Network, PeerUnreachable

TRIES = 3
MEASURE_EVERY_S = 600.0
AT_ONCE = 8
MOST_AT_ONCE_ASKED = 64
"""Providers measured for one job that limits the round trip."""
ECHO_BYTES = 8
ECHO_RATE = Rate(per_second=5.0, burst=50.0)
_ROUND_S = 15.0
_PATIENCE_S = 2.0
_REMEMBERED = 10_000


class RoundTrips:
    """Answers and takes measurements.

    Args:
        network: the node's network.
        providers: keys of the providers worth knowing, from the book.
        learned: told ``(provider, microseconds)``.
    """

    def __init__(
        self, network: Network, *, providers: Callable[[], Iterable[bytes]], learned: Callable[[bytes, int], None]
    ) -> None:
        self._network = network
        self._providers = providers
        self._learned = learned
        self._budgets = PeerBudgets()
        self._asked_at: OrderedDict[bytes, float] = OrderedDict()

    def register(self) -> None:
        """Answer peers that measure. Call before the network talks."""
        self._network.serve(wire.PROTOCOL_ECHO, self._echo, max_request=ECHO_BYTES)

    async def measure_forever(self) -> None:
        """Keep the figures fresh, until cancelled."""
        while True:
            await contained(self.measure, list(self._providers()))
            await trio.sleep(_ROUND_S)

    async def measure(self, providers: Iterable[bytes], *, most: int = AT_ONCE) -> None:
        """Measure those of these providers that were not measured lately, at most ``most`` of them."""
        now = trio.current_time()
        due = [key for key in dict.fromkeys(providers) if key != self._network.key and self._is_due(key, now)]
        due.sort(key=lambda key: (self._asked_at.get(key, float("-inf")), key))
        limit = trio.CapacityLimiter(AT_ONCE)
        async with trio.open_nursery() as nursery:
            for key in due[:most]:
                nursery.start_soon(self._measure_one, key, limit)

    def _is_due(self, key: bytes, now: float) -> bool:
        return now - self._asked_at.get(key, float("-inf")) >= MEASURE_EVERY_S

    async def _measure_one(self, provider: bytes, limit: trio.CapacityLimiter) -> None:
        async with limit:
            self._asked_at[provider] = trio.current_time()
            self._asked_at.move_to_end(provider)
            while len(self._asked_at) > _REMEMBERED:
                self._asked_at.popitem(last=False)
            best: int | None = None
            try:
                for number in range(TRIES):
                    took = await self._once(provider, number)
                    best = took if best is None else min(best, took)
            except PeerUnreachable:
                pass
            except PeerFault as fault:
                self._network.penalise(provider, fault.code)
                return
            if best is not None:
                self._learned(provider, best)

    async def _once(self, provider: bytes, number: int) -> int:
        sent = number.to_bytes(ECHO_BYTES, "big")
        began = trio.current_time()
        answer = await self._network.request(
            provider, wire.PROTOCOL_ECHO, sent, timeout=_PATIENCE_S, max_response=ECHO_BYTES
        )
        took = trio.current_time() - began
        if answer != sent:
            raise PeerFault("an echo that says something else", code="bad_echo")
        return max(1, round(took * 1_000_000))

    async def _echo(self, peer: bytes, request: bytes) -> bytes:
        """Say the same again. Who asks more often than any node of ours waits a little, and measures just that."""
        while not self._budgets.allow(peer, ECHO_RATE, trio.current_time()):
            await trio.sleep(1.0)
        return request
