"""One asyncio loop in one side thread, for libraries that know only asyncio, seen from trio.

Nothing of asyncio is patched and no private name is used. A call never outlives its caller: when the trio task is
cancelled the asyncio task is cancelled too, and waited for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

import trio

from market.errors import BrokenInvariant

T = TypeVar("T")


class AsyncioThread:
    """Made by :func:`open_asyncio_thread`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def run(self, call: Callable[[], Awaitable[T]], *, shield: bool = False) -> T:
        """Run ``await call()`` in the side loop and return its result or raise its error.

        Args:
            call: makes the awaitable; called in the side thread.
            shield: once begun the call ends by itself and its result is returned even if the caller is being
                cancelled: for a transaction whose outcome must be known. Cancelled before that, it never begins.

        Raises:
            BrokenInvariant: the side thread is gone.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        one = _Call(call, trio.lowlevel.current_trio_token())
        try:
            self._loop.call_soon_threadsafe(one.start)
        except RuntimeError:
            raise BrokenInvariant("the asyncio thread is already stopped", code="thread_stopped") from None
        if shield:
            with trio.CancelScope(shield=True):
                await one.ended.wait()
            return one.result()
        try:
            await one.ended.wait()
        except trio.Cancelled:
            self._loop.call_soon_threadsafe(one.cancel)
            with trio.CancelScope(shield=True):
                await one.ended.wait()
            raise
        return one.result()


class _Call(Generic[T]):
    """One call on its way through the side loop."""

    def __init__(self, call: Callable[[], Awaitable[T]], token: trio.lowlevel.TrioToken) -> None:
        self._call = call
        self._token = token
        self._task: asyncio.Task[T] | None = None
        self.ended = trio.Event()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._await())
        self._task.add_done_callback(self._announce)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def result(self) -> T:
        if self._task is None:
            raise BrokenInvariant("a call without a task")
        return self._task.result()

    async def _await(self) -> T:
        return await self._call()

    def _announce(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # Looked at here, as a cancelled caller never will: asyncio would complain.
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self.ended.set)


@asynccontextmanager
async def open_asyncio_thread(name: str = "asyncio") -> AsyncIterator[AsyncioThread]:
    """Start the side thread; it is stopped and joined at the end of the block, also when cancelled."""
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    ready = threading.Event()

    async def serve() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name=name, daemon=True)
    thread.start()
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(ready.wait)
    loop, stop = loops[0]
    try:
        yield AsyncioThread(loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join)
