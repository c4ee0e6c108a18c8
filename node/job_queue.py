"""The one line in which a node's jobs wait for a provider: who is tried next, and when. It knows nothing of auctions.

Whoever has a place gets a turn at once, and after that only when something is there for it: an offer that was not there
before, or one that did not work out and has been left alone for a while. Turns are given in the order of
:mod:`market.queueing`, when the book changes; nobody polls. Several have their turn at the same time as long as there
is enough for all of them; where there is not, one after the other, so that the first in the line has the first choice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import trio

from market.queueing import Waiting, in_turn
from node.ports import Clock
from node.retry_pause import RetryPause

_NOT_SOONER_THAN_S = 0.1
"""Between two looks at a book that changes all the time."""
_LINE_HELD_S = 1.0
"""How long a turn may keep others waiting: a provider that does not answer costs seconds."""
_AT_ONCE = 64

Fitting = Mapping[Any, int]
"""What a job could be offered now: offers by anything that tells them apart, and the free slots of each."""


class Place:
    """One job's place in the line.

    Attributes:
        job: what decides its turn.
        slots: how many it takes.
    """

    def __init__(self, job: Waiting, slots: int, fitting: Callable[[], Fitting], queue: JobQueue) -> None:
        self.job = job
        self.slots = slots
        self._fitting = fitting
        self._queue = queue
        self._pause = RetryPause(queue.rng)
        self._tried: Fitting = {}
        self._passed_over: Fitting = {}
        self._turn = trio.Event()
        self._left = False
        self.turns = 0
        self.began = 0.0
        self.rests_until = 0.0
        self.is_due = True
        self.is_idle = False

    async def turn(self, until: float) -> bool:
        """Wait for a turn; it lasts until this is called again or the place is given up. False: the time is up.

        The first turn is waited for however long the line is.

        Args:
            until: when the time is up, by trio's clock.
        """
        self._turn, self.is_idle = trio.Event(), not self._left
        self._queue.turn_is_over(self)
        with trio.CancelScope(deadline=until if self.turns else float("inf")):
            if self.is_idle:
                await self._turn.wait()
        self.is_idle = False
        return self._turn.is_set() and not self._left

    def did_not_work_out(self) -> None:
        """The turn brought nothing: leave alone what there was to try for a while, longer each time."""
        self._passed_over = self._tried
        self.rests_until = trio.current_time() + self._pause.failed()

    def leave(self) -> None:
        """Want no turn any more: :meth:`turn` returns False, at once."""
        self._left = True
        self._turn.set()

    def look(self) -> Fitting | None:
        """What there is for it now; None when a turn is not worth it."""
        fitting = self._fitting()
        # What went away, all of it or in part, and comes back is new.
        self._passed_over = {one: min(free, fitting[one]) for one, free in self._passed_over.items() if one in fitting}
        is_new = any(free > self._passed_over.get(one, 0) for one, free in fitting.items())
        rested = bool(fitting) and trio.current_time() >= self.rests_until
        return fitting if is_new or rested or not self.turns else None

    def give_turn(self, fitting: Fitting) -> None:
        """Let the job have its turn."""
        self._tried, self.began = fitting, trio.current_time()
        self.is_idle = False
        self.turns += 1
        self._turn.set()

    def shares(self, fitting: Fitting) -> bool:
        """Whether it may be taking something of this just now."""
        return not self._tried.keys().isdisjoint(fitting)

    @property
    def is_resting(self) -> bool:
        """Whether something fits that is left alone for a while."""
        return self.is_idle and bool(self._passed_over)


class JobQueue:
    """All places of a node."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self.rng = rng
        self._clock = clock
        self._places: dict[int, Place] = {}
        self._in_turn: dict[int, Place] = {}
        self._stirred = trio.Event()
        self._turn_over = trio.Event()
        self._book_changed = False
        self._look_from = 0.0

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def place(self, job: Waiting, fitting: Callable[[], Fitting], *, slots: int = 1) -> Iterator[Place]:
        """Be in the line while the block runs.

        Args:
            job: what decides its turn; its number is its own.
            fitting: what could be tried now. Called often; must be quick.
            slots: how many free slots it needs.
        """
        place = self._places[job.number] = Place(job, slots, fitting, self)
        try:
            yield place
        finally:
            del self._places[job.number]
            self.turn_is_over(place)

    def book_changed(self) -> None:
        """Offers came or changed: whoever waits may have something to try."""
        self._book_changed = True
        self._stirred.set()

    def turn_is_over(self, place: Place) -> None:
        """A place waits again, or was given up."""
        self._in_turn.pop(place.job.number, None)
        self._turn_over.set()
        self._stirred.set()

    async def listen_forever(self, wait_change: Callable[[], Awaitable[None]]) -> None:
        """Call :meth:`book_changed` each time ``wait_change`` returns."""
        while True:
            await wait_change()
            self.book_changed()

    async def serve_forever(self) -> None:
        """Give turns to whom they are due."""
        while True:
            self._stirred = trio.Event()
            await self._go_down_the_line()
            with trio.CancelScope(deadline=self._next_time()):
                await self._stirred.wait()

    async def _go_down_the_line(self) -> None:
        began = trio.current_time()
        looks = self._book_changed and began >= self._look_from
        if looks:
            self._book_changed = False
        for place in self._places.values():
            place.is_due |= looks or (place.is_resting and began >= place.rests_until)
        due = [place.job for place in self._places.values() if place.is_due and place.is_idle]
        for job in in_turn(due, self._clock.now_ms()):
            await self._serve(job.number)
        if looks:
            # A long line and a restless book must not keep the node from its other work: at least half is theirs.
            now = trio.current_time()
            self._look_from = now + max(_NOT_SOONER_THAN_S, now - began)

    async def _serve(self, number: int) -> None:
        """Give one place its turn, as soon as those before it leave it something, if there is something for it."""
        while (place := self._places.get(number)) is not None and place.is_idle:
            place.is_due = False
            fitting = place.look()
            if fitting is None:
                await trio.lowlevel.checkpoint()
                return
            free_from = self._free_from(place, fitting)
            if free_from <= trio.current_time():
                self._in_turn[number] = place
                place.give_turn(fitting)
                return
            self._turn_over = trio.Event()
            with trio.CancelScope(deadline=free_from):
                await self._turn_over.wait()

    def _free_from(self, place: Place, fitting: Fitting) -> float:
        """Until when a place must wait for those that have their turn, if none of them ends it before."""
        now = trio.current_time()
        recent = [one for one in self._in_turn.values() if now < one.began + _LINE_HELD_S]
        rivals = [one for one in recent if one.shares(fitting)]
        taken = sum(one.slots for one in rivals) + place.slots
        if len(recent) < _AT_ONCE and (not rivals or taken <= sum(fitting.values())):
            return now
        return min(one.began for one in (rivals or recent)) + _LINE_HELD_S

    def _next_time(self) -> float:
        """When to go down the line though nothing stirs."""
        times = [place.rests_until for place in self._places.values() if place.is_resting]
        if self._book_changed:
            times.append(self._look_from)
        return min(times, default=float("inf"))
