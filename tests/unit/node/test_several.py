"""A few at a time, in order; one that fails does not stop the others."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from market.errors import Unavailable
from node.several import several


async def test_no_more_than_allowed_are_under_way_and_they_begin_in_order(autojump_clock: MockClock) -> None:
    begun: list[int] = []
    busy = most = 0

    async def work(number: int) -> None:
        nonlocal busy, most
        begun.append(number)
        busy += 1
        most = max(most, busy)
        await trio.sleep(1 + number % 3)
        busy -= 1

    await several(range(10), work, at_once=3)
    assert (begun, most, busy) == (list(range(10)), 3, 0)


async def test_all_are_tried_and_then_the_first_failure_is_told() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await trio.lowlevel.checkpoint()
        if number in (1, 2):
            raise Unavailable(f"no {number}", code="chain_unreachable")
        done.append(number)

    with pytest.raises(Unavailable, match="no 1"):
        await several(range(5), work, at_once=1)
    assert done == [0, 3, 4]
