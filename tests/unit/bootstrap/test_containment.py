"""The last net."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from bootstrap.containment import contained, contained_forever


async def fail(*args: object) -> None:
    raise ZeroDivisionError(*args)


async def test_a_failure_is_logged_and_ends_there(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        await contained(fail, "why")
    assert "fail failed" in caplog.text
    assert "ZeroDivisionError: why" in caplog.text


async def test_several_failures_at_once_end_there_too() -> None:
    async def fail_twice() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)

    await contained(fail_twice)


async def test_cancellation_passes() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await contained(trio.sleep_forever)
        pytest.fail("went on after it was cancelled")
    assert scope.cancelled_caught


async def test_what_has_no_end_begins_again(autojump_clock: trio.testing.MockClock) -> None:
    begun: list[float] = []

    async def fail_at_first() -> None:
        begun.append(trio.current_time())
        if len(begun) < 3:
            raise ZeroDivisionError
        await trio.sleep_forever()

    with trio.move_on_after(60):
        await contained_forever(fail_at_first)
    assert len(begun) == 3
