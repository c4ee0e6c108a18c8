"""Epochs of a simulated market: all bids of an epoch are decided on the same picture, which is out of date at once.

An *epoch* is the time news needs to reach everybody. When it begins every requester sees the true free slots; until it
ends nobody sees what the others take, save by counting with the rivals whose bids it heard (:mod:`market.simulation
.rivalry`). Then all ask at once, round by round, and providers grant what still fits. The oldest jobs end, and the next
epoch begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from random import Random
from typing import NamedTuple, Protocol

from market.matching import MAX_SHORTLIST
from market.offer_row import Query, Row
from market.simulation.rivalry import Burst, Picture, undo, wishes_among_rivals

MAX_TRIES = 8


class Index(Picture, Protocol):
    """What a market needs of an index; see :class:`market.offer_index.OfferIndex`."""

    def put(self, row: Row) -> None: ...
    def free(self, handle: int) -> int: ...
    def take(self, handle: int, slots: int) -> bool: ...
    def match(self, query: Query) -> int: ...


class Plan(NamedTuple):
    """How a market is run.

    ``load`` is the share of all slots in use when an epoch begins and ``known`` the share of rivals' bids that each of
    ``requesters`` heard in time, both permille. ``known`` None: every bid is decided as if it were the only one.
    """

    per_epoch: int = 200
    load: int = 600
    requesters: int = 20
    known: int | None = None


class Fate(NamedTuple):
    """What became of a bid. ``best`` is the machine it would take if it were alone, ``handle`` the one it got and
    ``left`` one that fits it and is still free when the epoch ends although it got none, each -1 for none; ``tries``
    counts the providers asked."""

    query: Query
    best: int
    handle: int
    tries: int
    left: int


class Epoch(NamedTuple):
    """One epoch: free slots of every machine when it began, what became of each bid, and where each would have gone if
    they had come one after the other, each seeing what was left."""

    free: tuple[int, ...]
    fates: tuple[Fate, ...]
    in_turn: tuple[int, ...]


class Market:
    """The true state of a simulated market, and the picture of it that everybody has.

    Args:
        rows: the machines, each at the place its handle says.
        view: an empty index.
    """

    def __init__(self, rows: Sequence[Row], view: Index) -> None:
        self.rows = rows
        self.free = [row.free for row in rows]
        self.view = view
        self._slots = sum(self.free)
        self._used = 0
        self._running: deque[tuple[int, int]] = deque()
        for row in rows:
            view.put(row)

    def fill(self, jobs: Iterator[Query], load: int, luck: Random) -> None:
        """Let jobs in until the load is reached; those that run then are in no order of age."""
        for job in jobs:
            if self._used * 1000 >= load * self._slots:
                break
            handle = self.view.match(job)
            if handle >= 0:
                self.grant(handle, job.slots)
        luck.shuffle(self._running)

    def grant(self, handle: int, slots: int) -> bool:
        """The provider's answer: yes while the slots are free."""
        if self.free[handle] < slots:
            return False
        self.free[handle] -= slots
        self._used += slots
        self._running.append((handle, slots))
        return True

    def end_oldest(self, load: int) -> None:
        """End jobs, the oldest first, until no more than the load is in use."""
        while self._used * 1000 > load * self._slots:
            handle, slots = self._running.popleft()
            self.free[handle] += slots
            self._used -= slots

    def tell_everybody(self) -> list[Row]:
        """Make the picture true again; the machines with their free slots."""
        for handle, free in enumerate(self.free):
            seen = self.view.free(handle)
            if seen > free:
                self.view.take(handle, seen - free)
            elif seen < free:
                self.view.give(handle, free - seen)
        return [row._replace(free=free) for row, free in zip(self.rows, self.free, strict=True)]


def run(market: Market, jobs: Iterator[Query], plan: Plan, luck: Random) -> Iterator[Epoch]:
    """Hold one epoch after the other until the jobs are used up."""
    while batch := list(islice(jobs, plan.per_epoch)):
        seen = market.tell_everybody()
        in_turn = market.view.match_all(batch)
        undo(market.view, batch, in_turn)
        wishes = [[handle for _, handle in market.view.top(query, MAX_SHORTLIST)] for query in batch]
        best = [wish[0] if wish else -1 for wish in wishes]
        if plan.known is not None:
            burst = Burst(seen, batch, [luck.randrange(plan.requesters) for _ in batch], wishes)
            wishes = wishes_among_rivals(market.view, burst, partial(_by_chance, plan.known, luck))
        got, tries = _ask(market, batch, wishes, luck)
        market.tell_everybody()
        left = [_first(market.view, query) if handle < 0 else -1 for query, handle in zip(batch, got, strict=True)]
        free = tuple(row.free for row in seen)
        yield Epoch(free, tuple(map(Fate, batch, best, got, tries, left)), tuple(in_turn))
        market.end_oldest(plan.load)


def _first(view: Index, query: Query) -> int:
    return next((handle for _, handle in view.top(query, 1)), -1)


def _by_chance(permille: int, luck: Random) -> bool:
    return luck.randrange(1000) < permille


def _ask(
    market: Market, batch: Sequence[Query], wishes: Sequence[Sequence[int]], luck: Random
) -> tuple[list[int], list[int]]:
    """All ask their first wish, in any order; those refused ask their second, and so on."""
    got, tries = [-1] * len(batch), [0] * len(batch)
    waiting = [place for place, wish in enumerate(wishes) if wish]
    for attempt in range(MAX_TRIES):
        luck.shuffle(waiting)
        refused = []
        for place in waiting:
            tries[place] += 1
            handle = wishes[place][attempt]
            if market.grant(handle, batch[place].slots):
                got[place] = handle
            elif attempt + 1 < len(wishes[place]):
                refused.append(place)
        waiting = refused
    return got, tries
