"""A task that runs as long as a block of code does, and whose end leaves the block's own errors as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def running_beside(task: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Run ``task`` until the block is left. An error of the task stops the block; an error of the block comes out as it
    is, not within a group as a nursery would have it."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(task)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again below
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
