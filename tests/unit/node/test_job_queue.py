"""The line of waiting jobs: who gets a turn, when, and that nobody is asked for nothing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from market.queueing import Waiting
from node.job_queue import JobQueue
from tests.simulation.marketplace import SimulatedClock

MINUTE = 60_000


class Line:
    """A line, and jobs in it that note when they had a turn."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.clock = SimulatedClock()
        self.queue = JobQueue(self.clock, random.Random(1))
        self.nursery = nursery
        self.offers: frozenset[object] = frozenset()
        self.turns: list[tuple[int, float]] = []
        self.ended: dict[int, bool] = {}
        self.looks = 0
        self.takes_s = 0.0
        self.taken: set[object] = set()
        self._submitted = 0

    def join(self, *, length: int = MINUTE, until: float = float("inf"), works: bool = True, slots: int = 1) -> int:
        """Put one more job in the line; with ``works`` a turn takes one of the offers away and ends the job."""
        number, self._submitted = self._submitted, self._submitted + 1
        job = Waiting(number=number, since=self.clock.now_ms(), length=length)
        self.nursery.start_soon(self._wait, job, until, works, slots)
        return number

    def post(self, *offers: object) -> None:
        self.offers = self.offers | set(offers)
        self.queue.book_changed()

    def order(self) -> list[int]:
        return [number for number, _ in self.turns]

    def _fitting(self) -> dict[object, int]:
        self.looks += 1
        return dict.fromkeys(self.offers, 1)

    async def _wait(self, job: Waiting, until: float, works: bool, slots: int) -> None:
        with self.queue.place(job, self._fitting, slots=slots) as place:
            self.place = place
            while await place.turn(until):
                self.turns.append((job.number, trio.current_time()))
                await trio.sleep(self.takes_s)
                if self.offers and works:
                    self.offers = frozenset(sorted(self.offers, key=str)[1:])
                    self.ended[job.number] = True
                    return
                place.did_not_work_out()
        self.ended[job.number] = False


@asynccontextmanager
async def a_line(*offers: object) -> AsyncIterator[Line]:
    async with trio.open_nursery() as nursery:
        line = Line(nursery)
        line.offers = frozenset(offers)
        nursery.start_soon(line.queue.serve_forever)
        yield line
        nursery.cancel_scope.cancel()


async def test_a_first_turn_comes_at_once_also_when_nothing_is_there(autojump_clock: MockClock):
    async with a_line() as line:
        line.join()
        await trio.sleep(0.01)
        assert line.turns == [(0, trio.current_time() - 0.01)]


async def test_without_news_nobody_has_a_second_turn_and_nobody_looks(autojump_clock: MockClock):
    async with a_line() as line:
        line.join()
        await trio.sleep(1)
        looks = line.looks
        await trio.sleep(3600)
        assert (len(line.turns), line.looks) == (1, looks)


async def test_what_comes_later_is_tried_within_a_second(autojump_clock: MockClock):
    async with a_line() as line:
        line.join()
        await trio.sleep(300)
        line.post("offer")
        await trio.sleep(1)
        assert line.ended == {0: True}
        assert line.turns[-1][1] < 301


async def test_a_change_that_fits_nobody_is_no_turn(autojump_clock: MockClock):
    async with a_line() as line:
        line.join()
        await trio.sleep(1)
        line.post()
        await trio.sleep(1)
        assert len(line.turns) == 1


async def test_one_offer_goes_to_the_job_whose_turn_it_is(autojump_clock: MockClock):
    async with a_line() as line:
        for length in (60 * MINUTE, MINUTE, 5 * MINUTE):
            line.join(length=length)
            await trio.sleep(0.01)
        await trio.sleep(60)
        for number in range(3):
            line.turns.clear()
            line.post(f"offer {number}")
            await trio.sleep(1)
        assert list(line.ended) == [1, 2, 0]


async def test_where_there_is_enough_for_all_nobody_waits_for_another(autojump_clock: MockClock):
    async with a_line("a", "b", "c") as line:
        line.takes_s = 0.5
        for _ in range(3):
            line.join()
        await trio.sleep(5)
        assert len({at for _, at in line.turns}) == 1
        assert len(line.turns) == 3


async def test_where_there_is_not_turns_are_given_one_after_the_other(autojump_clock: MockClock):
    async with a_line("only") as line:
        line.takes_s = 0.5
        for _ in range(3):
            line.join(works=False)
            await trio.sleep(0.01)
        await trio.sleep(1.3)
        times = [at for _, at in line.turns]
        assert line.order() == [0, 1, 2]
        assert [round(later - times[0], 3) for later in times] == [0, 0.5, 1.0]


async def test_who_finds_nothing_left_waits_for_nobody(autojump_clock: MockClock):
    async with a_line("only") as line:
        line.takes_s = 0.5
        for _ in range(3):
            line.join()
            await trio.sleep(0.01)
        await trio.sleep(5)
        times = [at for _, at in line.turns]
        assert [round(later - times[0], 3) for later in times] == [0, 0.5, 0.5]


async def test_a_slow_turn_does_not_hold_up_the_line_for_long(autojump_clock: MockClock):
    async with a_line("only") as line:
        line.takes_s = 40
        for _ in range(3):
            line.join()
            await trio.sleep(0.01)
        await trio.sleep(0.9)
        assert line.order() == [0]
        await trio.sleep(2)
        assert line.order() == [0, 1, 2]


async def test_a_job_that_takes_more_leaves_less_for_the_next(autojump_clock: MockClock):
    async with a_line("a", "b", "c") as line:
        line.takes_s = 0.5
        line.join(slots=2)
        await trio.sleep(0.01)
        line.join(slots=1)
        await trio.sleep(0.01)
        line.join(slots=1)
        await trio.sleep(0.1)
        assert line.order() == [0, 1], "three free slots are enough for two and one"


async def test_who_wants_something_else_does_not_wait(autojump_clock: MockClock):
    async with a_line("a") as line:
        line.takes_s = 0.5
        line.join()
        await trio.sleep(0.01)
        line.offers = frozenset({"b"})
        line.join()
        await trio.sleep(0.01)
        assert line.order() == [0, 1]


async def test_what_did_not_work_out_is_left_alone_longer_each_time(autojump_clock: MockClock):
    async with a_line("stubborn") as line:
        line.join(works=False)
        await trio.sleep(600)
        times = [at for _, at in line.turns]
        assert 30 < len(times) < 90
        assert times[1] - times[0] < 1
        assert times[-1] - times[-2] > 7


async def test_a_restless_book_gives_no_more_turns_to_what_did_not_work_out(autojump_clock: MockClock):
    async with a_line("stubborn") as line:
        line.join(works=False)
        for _ in range(300):
            line.post()
            await trio.sleep(0.1)
        assert len(line.turns) < 12


async def test_a_new_offer_is_tried_though_another_is_left_alone(autojump_clock: MockClock):
    async with a_line("stubborn") as line:
        line.join(works=False)
        await trio.sleep(300)
        before = len(line.turns)
        line.post("new")
        await trio.sleep(0.2)
        assert len(line.turns) == before + 1


async def test_an_offer_that_went_away_and_comes_back_is_new(autojump_clock: MockClock):
    async with a_line("fickle") as line:
        line.join(works=False)
        await trio.sleep(300)
        line.offers = frozenset()
        line.post()
        await trio.sleep(0.5)
        before = len(line.turns)
        line.post("fickle")
        await trio.sleep(0.2)
        assert len(line.turns) == before + 1


async def test_the_time_is_up(autojump_clock: MockClock):
    async with a_line() as line:
        line.join(until=trio.current_time() + 10)
        await trio.sleep(9)
        assert line.ended == {}
        await trio.sleep(2)
        assert line.ended == {0: False}
        assert len(line.queue) == 0


async def test_whose_time_is_up_before_the_first_turn_still_gets_one(autojump_clock: MockClock):
    async with a_line("a", "b") as line:
        line.takes_s = 0.9
        line.join()
        await trio.sleep(0.01)
        line.join(until=trio.current_time() - 1)
        await trio.sleep(5)
        assert line.ended == {0: True, 1: True}


async def test_who_leaves_has_no_further_turn(autojump_clock: MockClock):
    async with a_line() as line:
        line.join()
        await trio.sleep(1)
        line.place.leave()
        await trio.sleep(0.01)
        assert line.ended == {0: False}
        line.post("late")
        await trio.sleep(5)
        assert len(line.turns) == 1


async def test_a_book_that_changes_all_the_time_is_looked_at_a_few_times_a_second(autojump_clock: MockClock):
    async with a_line() as line:
        for _ in range(10):
            line.join()
        await trio.sleep(1)
        line.looks = 0
        for _ in range(1000):
            line.post()
            await trio.sleep(0.001)
        assert line.looks <= 10 * 12


async def test_changes_are_heard(autojump_clock: MockClock):
    changed = trio.Event()

    async def wait_change() -> None:
        await changed.wait()

    async with a_line() as line:
        line.nursery.start_soon(line.queue.listen_forever, wait_change)
        line.join()
        await trio.sleep(1)
        line.offers = frozenset({"offer"})
        heard, changed_now = changed, trio.Event()
        changed = changed_now
        heard.set()
        await trio.sleep(0.5)
        assert line.ended == {0: True}
