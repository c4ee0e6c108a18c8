"""One asyncio loop beside trio: results, errors, cancellation and the end."""

from __future__ import annotations

import asyncio
import threading

import pytest
import trio

from ledger.asyncio_thread import open_asyncio_thread
from market.errors import BrokenInvariant


async def test_a_call_returns_its_result_and_raises_its_error() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    async def fail() -> None:
        raise KeyError("no")

    async with open_asyncio_thread() as thread:
        assert await thread.run(answer) == 42
        with pytest.raises(KeyError):
            await thread.run(fail)


async def test_a_cancelled_call_has_ended_when_its_caller_is_told() -> None:
    ended = threading.Event()
    began = threading.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with open_asyncio_thread() as thread:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(thread.run, hang)
                await trio.to_thread.run_sync(began.wait)
                scope.cancel()
        assert ended.is_set()


async def test_a_shielded_call_that_began_ends_by_itself() -> None:
    began = threading.Event()
    go_on = threading.Event()
    results: list[str] = []

    async def work() -> str:
        began.set()
        await asyncio.to_thread(go_on.wait)
        return "whole"

    async with open_asyncio_thread() as thread:

        async def call() -> None:
            results.append(await thread.run(work, shield=True))

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await trio.to_thread.run_sync(began.wait)
                scope.cancel()
                go_on.set()
    assert results == ["whole"]


async def test_a_call_of_a_cancelled_caller_never_begins() -> None:
    calls: list[str] = []

    async def work() -> None:
        calls.append("began")

    async with open_asyncio_thread() as thread:
        with trio.CancelScope() as scope:
            scope.cancel()
            await thread.run(work, shield=True)
    assert calls == []


async def test_nothing_is_left_when_the_block_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with open_asyncio_thread("side-by-test"):
            scope.cancel()
            await trio.sleep_forever()
    assert "side-by-test" not in [thread.name for thread in threading.enumerate()]


async def test_a_call_after_the_end_is_our_own_fault() -> None:
    async with open_asyncio_thread() as thread:
        pass
    with pytest.raises(BrokenInvariant):
        await thread.run(lambda: asyncio.sleep(0))
