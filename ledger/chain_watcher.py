"""Follows the escrow's events and tells whoever asked, each event at least once, in order.

Only blocks that lie ``confirmations`` deep are read, so a reorg never has to be taken back. The place reached is
journalled after the events were handed over: a crash repeats some of them, and loses none. Listeners look at the
chain themselves; an event is a wake-up, never a proof.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import trio
from msgspec import Struct

from ledger.ports import Chain, Journal, LaneKey, LedgerEvent
from market.errors import Unavailable

MAX_RANGE = 2_000
"""Blocks asked for at once; public RPC nodes refuse more."""
MAX_WAITING = 256
"""Events one listener may leave unread before the watcher waits for it."""
_REMEMBER_EVERY = 64
"""Blocks without events between two journal writes; re-reading these few costs one question."""


class Backoff(Struct, frozen=True, kw_only=True):
    """Waiting times after failures: doubled each time up to ``most_s``, then shortened at random by up to half.

    Without the randomness all nodes would come back to a recovered RPC node in the same instant.
    """

    first_s: float = 1.0
    most_s: float = 60.0

    def delay_s(self, failures: int, random: Random) -> float:
        """The wait after the ``failures``-th failure in a row, counted from 1."""
        ceiling = min(self.first_s * 2.0 ** min(failures - 1, 32), self.most_s)
        return ceiling * (1 - random.random() / 2)


class WatcherStatus(Struct, frozen=True, kw_only=True):
    """For the status page. ``unreachable_since_ms`` is 0 while the chain answers; ``block`` is the last one read."""

    block: int
    head: int
    unreachable_since_ms: int
    failures: int


def lane_of(event: LedgerEvent) -> LaneKey | None:
    """The lane an event is about, or None for events about none (``Redeemed``)."""
    payer, payee, signer = (event.arguments.get(name) for name in ("payer", "provider", "signer"))
    if isinstance(payer, bytes) and isinstance(payee, bytes) and isinstance(signer, bytes):
        return LaneKey(payer=payer, payee=payee, signer=signer)
    return None


class ChainWatcher:
    """One task (:meth:`run`) that polls, and any number of listeners (:meth:`listen`).

    Args:
        confirmations: how deep a block must lie before it is read.
        first_block: where to begin when nothing is journalled; None for the newest block, when nothing older matters.
        poll_s: seconds between two looks.
        now_ms: UTC milliseconds.
        random: for the jitter of the back-off.
        sleep: how to wait, for tests.
    """

    def __init__(
        self,
        chain: Chain,
        journal: Journal,
        *,
        confirmations: int,
        first_block: int | None,
        poll_s: float,
        now_ms: Callable[[], int],
        random: Random,
        backoff: Backoff | None = None,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
    ) -> None:
        self._chain = chain
        self._journal = journal
        self._confirmations = confirmations
        self._next_block = first_block or 0
        self._from_head = first_block is None
        self._poll_s = poll_s
        self._now_ms = now_ms
        self._random = random
        self._backoff = backoff or Backoff()
        self._sleep = sleep
        self._key = f"watched/{chain.chain_id}-{chain.escrow.hex()}"
        self._listeners: list[trio.MemorySendChannel[LedgerEvent]] = []
        self._remembered = first_block or 0
        self._head = 0
        self._failures = 0
        self._unreachable_since_ms = 0

    @property
    def status(self) -> WatcherStatus:
        return WatcherStatus(
            block=self._next_block - 1,
            head=self._head,
            unreachable_since_ms=self._unreachable_since_ms,
            failures=self._failures,
        )

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[trio.MemoryReceiveChannel[LedgerEvent]]:
        """Events from now on. A listener that stops reading stops the watcher: nothing about money is dropped."""
        send, receive = trio.open_memory_channel[LedgerEvent](MAX_WAITING)
        self._listeners.append(send)
        try:
            with receive:
                yield receive
        finally:
            self._listeners.remove(send)
            send.close()

    async def run(self) -> None:
        """Poll for ever. A chain that does not answer is asked again, less and less often; it never ends this."""
        remembered = await self._journal.get(self._key)
        if remembered is not None:
            self._next_block = self._remembered = int.from_bytes(remembered, "big")
            self._from_head = False
        while True:
            try:
                behind = await self._look()
            except Unavailable:
                self._failures += 1
                self._unreachable_since_ms = self._unreachable_since_ms or self._now_ms()
                await self._sleep(self._backoff.delay_s(self._failures, self._random))
                continue
            self._failures = self._unreachable_since_ms = 0
            if not behind:
                await self._sleep(self._poll_s)

    async def _look(self) -> bool:
        """Read the next range of blocks that are deep enough. True when there are more."""
        self._head = (await self._chain.head()).number
        deep_enough = self._head - self._confirmations
        if self._from_head:
            self._next_block, self._from_head = max(0, deep_enough), False
        if self._next_block > deep_enough + MAX_RANGE:
            # Told of blocks that are not there, we read past the end; real events would be missed until then.
            self._next_block = self._remembered = max(0, deep_enough - MAX_RANGE)
        if deep_enough < self._next_block:
            return False
        last = min(deep_enough, self._next_block + MAX_RANGE - 1)
        events = await self._chain.events(self._next_block, last)
        for event in sorted(events, key=lambda one: (one.block, one.index)):
            await self._tell(event)
        await self._remember(last + 1, now=bool(events))
        return last < deep_enough

    async def _tell(self, event: LedgerEvent) -> None:
        for listener in tuple(self._listeners):
            try:
                await listener.send(event)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                continue  # It has stopped listening.

    async def _remember(self, next_block: int, *, now: bool) -> None:
        if now or next_block - self._remembered >= _REMEMBER_EVERY:
            # A journal that cannot write just now costs a few repeated events at the next start, no more.
            with suppress(Unavailable):
                await self._journal.append([], {self._key: next_block.to_bytes(8, "big")})
                self._remembered = next_block
        self._next_block = next_block
