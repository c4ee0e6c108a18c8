"""Copy a container's output from the engine into its spool while it runs, and let readers follow the spool.

One follower per lease reads the engine's log, from where the spool ends; any number of readers wait on the spool.
The engine keeps two files of ten megabytes per job, so a node may be away for that much output without losing any;
what the engine has deleted meanwhile is replaced by a notice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import docker.errors
import trio

from market.errors import Unavailable
from runtime.docker_api import DockerApi
from runtime.log_frames import LogReader
from runtime.log_spool import LogSpool, notice, read_bytes, read_state
from runtime.ports import ContainerState, LogChunk

READ_SIZE = 64 * 1024
_RETRY_S = 0.5
_GAP = notice("some output is missing: the engine deleted it while this node was away")


class LogFeed:
    """One lease's spool and the news that it has grown."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.grown = trio.Event()
        self.idle = trio.Event()
        """Set when nobody copies any more: the spool is complete, or copying it was given up."""
        if read_state(log).complete:
            self.idle.set()

    def notify(self) -> None:
        self.grown.set()
        self.grown = trio.Event()


class LogIterator:
    """A reader's view of a feed, from an offset to the end of the job's output."""

    def __init__(self, feed: LogFeed, offset: int) -> None:
        self._feed = feed
        self._offset = offset

    def __aiter__(self) -> LogIterator:
        return self

    async def __anext__(self) -> LogChunk:
        while True:
            grown, idle = self._feed.grown, self._feed.idle.is_set()
            state = await trio.to_thread.run_sync(read_state, self._feed.log)
            want = min(READ_SIZE, state.size - self._offset)
            if want > 0:
                data = await trio.to_thread.run_sync(read_bytes, self._feed.log, self._offset, want)
                chunk = LogChunk(self._offset, data)
                self._offset += len(data)
                return chunk
            if idle:
                raise StopAsyncIteration
            await grown.wait()


class LogCopier:
    """Copies one container's output into its spool until the container has exited and everything was copied."""

    def __init__(self, api: DockerApi, feed: LogFeed, container: str, *, cap: int) -> None:
        self._api = api
        self._feed = feed
        self._container = container
        self._cap = cap

    async def run(
        self,
        state: Callable[[], Awaitable[ContainerState | None]],
        last_words: Callable[[], str] = lambda: "",
    ) -> None:
        """Copy to the end. ``state`` tells whether the container has exited; ``last_words`` what to add then."""
        try:
            while True:
                if await self._copy_once(state, last_words):
                    return
                await trio.sleep(_RETRY_S)
        finally:
            self._feed.idle.set()
            self._feed.notify()

    async def _copy_once(
        self, state: Callable[[], Awaitable[ContainerState | None]], last_words: Callable[[], str]
    ) -> bool:
        words = ""
        try:
            await self._read(follow=True)
            now = await state()
            if now is not None and now.phase != "exited":
                return False
            # A followed log may end a moment before the last lines are in it; one plain read has them all.
            await self._read(follow=False)
        except docker.errors.NotFound:
            pass  # removed: what was copied is all there will be
        except ValueError:
            words = "the engine's log cannot be read"
        except (docker.errors.APIError, Unavailable):
            return False  # the engine restarts; the job may well live on
        await trio.to_thread.run_sync(self._finish, words or last_words())
        return True

    async def _read(self, *, follow: bool) -> None:
        spooled = await trio.to_thread.run_sync(read_state, self._feed.log)
        if spooled.truncated:
            return  # full: what else the job prints is not worth the reading
        position = spooled.position
        what = {"follow": int(follow), "stdout": 1, "stderr": 1, "timestamps": 1, "since": position.since()}
        copier = self._copier(trio.lowlevel.current_trio_token())
        await self._api.consume(f"/containers/{self._container}/logs", what, copier)

    def _copier(self, token: trio.lowlevel.TrioToken) -> Callable[[Iterator[bytes]], None]:
        def copy(chunks: Iterator[bytes]) -> None:
            spool = LogSpool(self._feed.log, cap=self._cap)
            try:
                reader = LogReader(spool.state.position)
                for chunk in chunks:
                    if spool.state.truncated:
                        return
                    if data := reader.feed(chunk):
                        data, reader.gap = (_GAP + data if reader.gap else data), False
                        spool.append(data, reader.position)
                        token.run_sync_soon(self._feed.notify, idempotent=True)
            finally:
                spool.close()

        return copy

    def _finish(self, words: str) -> None:
        spool = LogSpool(self._feed.log, cap=self._cap)
        try:
            spool.finish(notice(words) if words else b"")
        finally:
            spool.close()
