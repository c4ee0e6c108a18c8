"""A task beside a block ends with it, and neither hides the other's errors."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ledger.beside import running_beside


async def test_the_task_runs_as_long_as_the_block(autojump_clock: MockClock) -> None:
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(trio.current_time())
            await trio.sleep(1)

    async with running_beside(tick):
        await trio.sleep(3.5)
    await trio.sleep(10)
    assert len(ticks) == 4


async def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with running_beside(trio.sleep_forever):
            raise KeyError


async def test_an_error_of_the_task_stops_the_block(autojump_clock: MockClock) -> None:
    async def fails() -> None:
        await trio.sleep(1)
        raise KeyError

    with pytest.raises(ExceptionGroup) as stopped:
        async with running_beside(fails):
            await trio.sleep_forever()
    assert stopped.group_contains(KeyError)


async def test_a_cancelled_block_is_cancelled() -> None:
    with trio.move_on_after(0) as scope:
        async with running_beside(trio.sleep_forever):
            await trio.sleep_forever()
    assert scope.cancelled_caught
