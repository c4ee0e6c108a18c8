"""Machines that this node's other jobs leave alone, because one that needs several slots has waited long for them.

Only our own jobs are held back: whatever else the market does, it is never more than one waiting job that others make
room for, on as many machines as it needs, and for a part of the time (:func:`market.queueing.holds`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from market.ask import Ask
from market.feasibility import is_feasible
from market.matching import candidate_of
from market.offer_book import OfferBook
from market.queueing import Waiting, holds, in_turn
from node.ports import Clock

_CHOSEN_FOR_MS = 10_000
"""Machines come and go: so often it is looked again which have most room. Those that are held gather it."""

Providers = frozenset[bytes]
_NOBODY: Providers = frozenset()


class HeldMachines:
    """Who holds, and what."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wide: dict[int, tuple[Waiting, Callable[[], Providers]]] = {}
        self._holder = -1
        self._held: Providers = _NOBODY
        self._chosen_at = 0

    @contextmanager
    def waiting(self, job: Waiting, slots: int, hosts: Callable[[], Providers]) -> Iterator[None]:
        """A job waits while the block runs.

        Args:
            job: what decides its turn; its number is its own.
            slots: how many it needs at once; with one it holds nothing.
            hosts: the providers that should be kept free for it. May take milliseconds.
        """
        if slots > 1:
            self._wide[job.number] = job, hosts
        try:
            yield
        finally:
            self._wide.pop(job.number, None)

    def kept_from(self, number: int) -> Providers:
        """The providers that a job must leave alone now."""
        now = self._clock.now_ms()
        first = in_turn((job for job, _ in self._wide.values() if holds(job, now)), now)[:1]
        if not first or first[0].number == number:
            return _NOBODY
        holder = first[0].number
        if holder != self._holder or now >= self._chosen_at + _CHOSEN_FOR_MS:
            self._holder, self._held, self._chosen_at = holder, self._wide[holder][1](), now
        return self._held


def best_hosts(book: OfferBook, ask: Ask, machines: int, now: int) -> Providers:
    """The providers with a machine that could serve an ask if nothing ran there: those with most room for it now, as
    many as are needed."""
    room: dict[bytes, int] = {}
    for offer in book.live(now):
        record = offer.record
        if record.total_slots < ask.requirements.slots:
            continue
        whole = replace(candidate_of(book, offer), free_slots=record.total_slots)
        if is_feasible(whole, ask.requirements, ask.limits):
            room[record.provider] = max(room.get(record.provider, 0), book.free_slots(record))
    return frozenset(heapq.nsmallest(machines, room, key=lambda provider: (-room[provider], provider)))
