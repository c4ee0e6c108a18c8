"""The one line in which a node's jobs wait for a provider: who is tried next, and when. It knows nothing of auctions.

Whoever has a place gets a turn at once, and after that only when something is there for it: an offer that was not there
before, or one that did not work out and has been left alone for a while. Turns are given one after the other, in the
order of :mod:`market.queueing`, when the book changes; nobody polls. A turn that takes long does not hold up the line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from random import Random

import trio

from market.queueing import Waiting, in_turn
from node.ports import Clock
from node.retry_pause import RetryPause

_NOT_SOONER_THAN_S = 0.1
"""Between two looks at a book that changes all the time."""
_LINE_HELD_S = 1.0
"""How long a turn may take before the next is given beside it: a provider that does not answer costs seconds."""

Fitting = Callable[[], frozenset[object]]
"""What a job could be offered now: anything that can be compared; empty costs the job its look only."""


class Place:
    """One job's place in the line."""

    def __init__(self, job: Waiting, fitting: Fitting, stir: Callable[[], None], pause: RetryPause) -> None:
        self.job = job
        self._fitting = fitting
        self._stir = stir
        self._pause = pause
        self._tried: frozenset[object] = frozenset()
        self._passed_over: frozenset[object] = frozenset()
        self.rests_until = 0.0
        self.is_due = True
        self.is_idle = False
        self._turns = 0
        self._left = False
        self._turn, self._back = trio.Event(), trio.Event()

    async def turn(self, until: float) -> bool:
        """Wait for a turn; it lasts until this is called again or the place is given up. False: the time is up.

        The first turn is waited for however long the line is.

        Args:
            until: when the time is up, by trio's clock.
        """
        self._back.set()
        self._turn, self._back = trio.Event(), trio.Event()
        self.is_idle = not self._left
        self._stir()
        with trio.CancelScope(deadline=until if self._turns else float("inf")):
            if self.is_idle:
                await self._turn.wait()
        self.is_idle = False
        self._turns += 1
        return self._turn.is_set() and not self._left

    def did_not_work_out(self) -> None:
        """The turn brought nothing: leave alone what there was to try for a while, longer each time."""
        self._passed_over = self._tried
        self.rests_until = trio.current_time() + self._pause.failed()

    def leave(self) -> None:
        """Want no turn any more: :meth:`turn` returns False, at once."""
        self._left = True
        self._turn.set()

    def has_something_to_try(self) -> bool:
        """Whether a turn is worth it now."""
        fitting = self._fitting()
        # What went away and comes back is new.
        self._passed_over &= fitting
        return bool(fitting - self._passed_over) or (bool(fitting) and trio.current_time() >= self.rests_until)

    @property
    def is_first(self) -> bool:
        """Whether it never had a turn."""
        return self._turns == 0

    @property
    def is_resting(self) -> bool:
        """Whether something fits that is left alone for a while."""
        return self.is_idle and bool(self._passed_over)

    async def give_turn(self) -> None:
        """Let the job have its turn, and wait until that is over or takes too long."""
        self._tried, back = self._fitting(), self._back
        self._turn.set()
        with trio.move_on_after(_LINE_HELD_S):
            await back.wait()


class JobQueue:
    """All places of a node."""

    def __init__(self, clock: Clock, rng: Random) -> None:
        self._clock = clock
        self._rng = rng
        self._places: dict[int, Place] = {}
        self._stirred = trio.Event()
        self._book_changed = False
        self._look_from = 0.0

    def __len__(self) -> int:
        return len(self._places)

    @contextmanager
    def place(self, job: Waiting, fitting: Fitting) -> Iterator[Place]:
        """Be in the line while the block runs.

        Args:
            job: what decides its turn; its number is its own.
            fitting: what could be tried now. Called often; must be quick.
        """
        place = self._places[job.number] = Place(job, fitting, self._stir, RetryPause(self._rng))
        try:
            yield place
        finally:
            del self._places[job.number]
            place._back.set()

    def book_changed(self) -> None:
        """Offers came or changed: whoever waits may have something to try."""
        self._book_changed = True
        self._stir()

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

    def _stir(self) -> None:
        self._stirred.set()

    async def _go_down_the_line(self) -> None:
        began = trio.current_time()
        looks = self._book_changed and began >= self._look_from
        if looks:
            self._book_changed = False
        for one in self._places.values():
            one.is_due |= looks or (one.is_resting and began >= one.rests_until)
        due = [one.job for one in self._places.values() if one.is_due and one.is_idle]
        for job in in_turn(due, self._clock.now_ms()):
            place = self._places.get(job.number)
            if place is None or not place.is_idle:
                continue
            place.is_due = False
            if place.is_first or place.has_something_to_try():
                await place.give_turn()
            else:
                await trio.lowlevel.checkpoint()
        if looks:
            # A long line and a restless book must not keep the node from its other work: at least half is theirs.
            now = trio.current_time()
            self._look_from = now + max(_NOT_SOONER_THAN_S, now - began)

    def _next_time(self) -> float:
        """When to go down the line though nothing stirs."""
        times = [place.rests_until for place in self._places.values() if place.is_resting]
        if self._book_changed:
            times.append(self._look_from)
        return min(times, default=float("inf"))
