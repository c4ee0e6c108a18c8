"""Networks opened on demand inside a test, each held open by a task of its own until the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import trio

N = TypeVar("N")


class Opener:
    """``await opener.open(manager)`` enters a context manager whose block ends with the test, or at :meth:`close`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._held: dict[int, tuple[trio.Event, trio.Event]] = {}

    async def open(self, manager: AbstractAsyncContextManager[N]) -> N:
        """Enter it, and return what it gives."""
        return await self._nursery.start(self._hold, manager)  # type: ignore[no-any-return]

    async def close(self, given: object) -> None:
        """Leave the block of what :meth:`open` returned, and wait until it is left."""
        leave, left = self._held[id(given)]
        leave.set()
        await left.wait()

    async def close_all(self) -> None:
        """Leave all blocks, the last opened first."""
        for leave, left in reversed(list(self._held.values())):
            leave.set()
            await left.wait()

    async def _hold(
        self, manager: AbstractAsyncContextManager[N], task_status: trio.TaskStatus[N] = trio.TASK_STATUS_IGNORED
    ) -> None:
        leave, left = trio.Event(), trio.Event()
        given: N | None = None
        try:
            async with manager as given:
                self._held[id(given)] = (leave, left)
                task_status.started(given)
                await leave.wait()
        finally:
            left.set()


@asynccontextmanager
async def open_nodes() -> AsyncIterator[Opener]:
    """An opener whose things are all closed at the end of this block."""
    async with trio.open_nursery() as nursery:
        opener = Opener(nursery)
        yield opener
        await opener.close_all()
