"""The slow surge of a provider: by use, within its owner's limits, and only where he switched it on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import trio
from trio.testing import MockClock

from market import inventory
from node.machine import Machine
from node.surge import STEP_S, Surge
from tests.fakes.desks import machine_class
from tests.fakes.samples import SELLER

PRICE, FLOOR, CAP = 100_000, 50_000, 200_000


class Stall:
    """One machine of four slots with a surge."""

    def __init__(self, **changes: Any) -> None:
        sold = {"slots": 4, "price": PRICE, "floor": FLOOR, "price_cap": CAP, "surge": True}
        self.machine = Machine(machine_class(**sold | changes), SELLER)
        self.posts = 0
        self.surge = Surge([self.machine], self._posted)

    def _posted(self) -> None:
        self.posts += 1

    @property
    def price(self) -> int:
        return self.machine.description.price

    def fill(self, slots: int) -> None:
        taken = inventory.reserve(self.machine.inventory, b"l" * 16, slots)
        assert taken is not None
        self.machine.inventory = taken.inventory

    def steps(self, count: int) -> list[int]:
        prices = []
        for _ in range(count):
            self.surge.step()
            prices.append(self.price)
        return prices


def test_a_full_machine_becomes_dearer_in_small_steps_up_to_its_cap() -> None:
    stall = Stall()
    stall.fill(4)
    prices = [PRICE, *stall.steps(60)]
    assert prices == sorted(prices)
    assert all((after - before) * 20 <= before for before, after in pairwise(prices))
    assert prices[-1] == CAP
    assert prices[10] < 150_000, "minutes, not moments"


def test_an_empty_machine_becomes_cheaper_down_to_its_floor() -> None:
    stall = Stall()
    prices = [PRICE, *stall.steps(60)]
    assert prices == sorted(prices, reverse=True)
    assert all((before - after) * 20 <= before for before, after in pairwise(prices))
    assert prices[-1] == FLOOR


def test_every_move_is_posted_and_standing_still_is_not() -> None:
    stall = Stall()
    stall.steps(60)
    posts = stall.posts
    assert 10 < posts < 60
    stall.steps(10)
    assert stall.posts == posts, "at its floor there is nothing new to say"


def test_without_the_switch_nothing_moves() -> None:
    stall = Stall(surge=False)
    assert stall.steps(30) == [PRICE] * 30
    assert stall.posts == 0


def test_a_paused_machine_keeps_its_price() -> None:
    stall = Stall()
    stall.machine.draining = True
    assert stall.steps(30) == [PRICE] * 30


async def test_it_steps_once_a_minute(autojump_clock: MockClock) -> None:
    stall = Stall()
    with trio.move_on_after(10 * STEP_S + 1):
        await stall.surge.run_forever()
    assert stall.price == Stall().steps(10)[-1]


async def test_without_a_machine_to_move_the_task_ends() -> None:
    await Stall(surge=False).surge.run_forever()
