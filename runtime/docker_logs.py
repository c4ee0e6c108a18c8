"""Copy a container's output from the engine into its spool while it runs, and let readers follow the spool.

One copier per lease, any number of readers on the spool. The copier listens to the job's own streams from before its
first instruction: a job that prints faster than it is read is slowed down, and nothing is lost. Where nobody listened
(this node or the engine was restarted) it goes on from the engine's log, which keeps 128 to 256 MiB per job: more than
a spool takes, so that only entries of a few bytes each can outgrow it. Then a notice says what is missing.

A full spool ends the listening, never the job: what is printed afterwards goes where nobody reads it. So does a disk
that hangs: an engine cannot even end a container whose streams are open and not read.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from math import inf
from pathlib import Path

import docker.errors
import trio

from market.errors import Unavailable
from runtime.docker_api import CHUNK, QUIET_S, DockerApi
from runtime.log_frames import LogReader, OutputReader, first_entry_time
from runtime.log_spool import LogSpool, notice, read_bytes, read_state
from runtime.ports import ContainerState, LogChunk

READ_SIZE = 64 * 1024
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 4.0
_EXIT_PATIENCE_S = 5.0
_EXIT_LOOK_S = 0.05
_WRITE_EVERY_S = 0.02
"""Output that comes in crumbs is written and announced this often; after a silence, at once."""
_FIRST_ENTRY_EVERY_S = 0.25
_FIRST_ENTRY_TIMEOUT_S = 1.0
_FIRST_ENTRY_LOOK_S = 0.02
STALL_S = 5.0
"""How long one write to the spool may hold a job up before we stop listening to it."""
_STREAMS = {"stdout": 1, "stderr": 1}

State = Callable[[], Awaitable[ContainerState | None]]


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
        state: State,
        last_words: Callable[[], str] = lambda: "",
        *,
        listening: Callable[[], None] | None = None,
    ) -> None:
        """Copy to the end. ``state`` tells whether the container has exited; ``last_words`` what to add then.

        ``listening`` is given for a container that was never started: it is called when it may be, because from then
        on nothing it prints can be missed (or because listening is impossible, and the engine's log must do).
        """
        try:
            if listening is not None and await self._listen(listening) and await _ended(state):
                await trio.to_thread.run_sync(self._finish, last_words())
                return
            pause = _FIRST_RETRY_S
            while not await self._copy_log(state, last_words):
                await trio.sleep(pause)
                pause = min(pause * 2, _LAST_RETRY_S)
        finally:
            self._feed.idle.set()
            self._feed.notify()

    async def _listen(self, listening: Callable[[], None]) -> bool:
        """Copy what the job's streams give. Whether they came to their end."""
        listener, scope = _Once(listening), trio.CancelScope()
        path, what = f"/containers/{self._container}/attach", {"stream": 1, **_STREAMS}
        try:
            with scope:
                ear = _Ear(self._feed, self._cap, scope, self._first_entry)
                await self._api.consume(path, what, ear.hear, method="POST", answered=listener)
        except (docker.errors.APIError, Unavailable, ValueError):
            return False
        finally:
            listener()
        return not scope.cancelled_caught

    async def _first_entry(self, *, whole_line: bool) -> bytes:
        """The time of the first entry in the engine's log, which may come a moment after the line itself; empty while
        there is none, because half a line is no entry yet."""
        path, what = f"/containers/{self._container}/logs", {"follow": 0, "timestamps": 1, **_STREAMS}
        first = b""
        with trio.move_on_after(_FIRST_ENTRY_TIMEOUT_S), suppress(docker.errors.APIError, Unavailable):
            first = await self._api.consume(path, what, _first_entry_of)
            while whole_line and not first:
                await trio.sleep(_FIRST_ENTRY_LOOK_S)
                first = await self._api.consume(path, what, _first_entry_of)
        return first

    async def _copy_log(self, state: State, last_words: Callable[[], str]) -> bool:
        """Copy from the engine's log where the spool ends. Whether all is copied that there will ever be."""
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
        what = {"follow": int(follow), "timestamps": 1, **_STREAMS}
        reader = self._log_reader(trio.lowlevel.current_trio_token())
        await self._api.consume(f"/containers/{self._container}/logs", what, reader)

    def _log_reader(self, token: trio.lowlevel.TrioToken) -> Callable[[Iterator[bytes]], None]:
        def read(chunks: Iterator[bytes]) -> None:
            spool = LogSpool(self._feed.log, cap=self._cap)
            try:
                reader = LogReader(spool.state.position)
                for chunk in chunks:
                    data = reader.feed(chunk)
                    if reader.gap is not None:
                        data, reader.gap = notice(reader.gap.sentence()) + data, None
                    if data:
                        spool.append(data, reader.position)
                        token.run_sync_soon(self._feed.notify, idempotent=True)
                    if spool.state.truncated:
                        return
            finally:
                spool.close()

        return read

    def _finish(self, words: str) -> None:
        spool = LogSpool(self._feed.log, cap=self._cap)
        try:
            spool.finish(notice(words) if words else b"")
        finally:
            spool.close()


class _Ear:
    """Writes what a job's streams give to its spool. :meth:`hear` lives in a thread; ``scope`` ends the listening."""

    def __init__(
        self, feed: LogFeed, cap: int, scope: trio.CancelScope, first_entry: Callable[..., Awaitable[bytes]]
    ) -> None:
        self._feed = feed
        self._cap = cap
        self._scope = scope
        self._first_entry = first_entry
        self._token = trio.lowlevel.current_trio_token()
        self._pending = b""
        self._asked = self._held_since = self._wrote = -inf

    def hear(self, chunks: Iterator[bytes]) -> None:
        spool = LogSpool(self._feed.log, cap=self._cap)
        try:
            reader = OutputReader(spool.state.position)
            for chunk in chunks:
                self._take(reader, chunk, time.monotonic())
                if not chunk or len(self._pending) >= CHUNK or time.monotonic() - self._wrote >= _WRITE_EVERY_S:
                    self._write(spool, reader)
                if spool.state.truncated:
                    return
            self._pending += reader.release()
            self._write(spool, reader)
        finally:
            spool.close()

    def _take(self, reader: OutputReader, chunk: bytes, now: float) -> None:
        if not reader.holds:
            self._held_since = now
        self._pending += reader.feed(chunk, _now())
        if not chunk or now - self._held_since >= QUIET_S:
            self._pending += reader.release()
            self._held_since = now

    def _write(self, spool: LogSpool, reader: OutputReader) -> None:
        if not self._pending:
            return
        self._wrote = time.monotonic()
        if not reader.first and self._wrote - self._asked >= _FIRST_ENTRY_EVERY_S:
            self._asked, reader.first = (
                self._wrote,
                trio.from_thread.run(partial(self._first_entry, whole_line=b"\n" in self._pending)),
            )
        self._token.run_sync_soon(_expire, self._scope, STALL_S)
        spool.append(self._pending, reader.position)
        self._pending = b""
        self._token.run_sync_soon(_expire, self._scope, inf)
        self._token.run_sync_soon(self._feed.notify)


class _Once:
    """Calls a function the first time only."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def _expire(scope: trio.CancelScope, seconds: float) -> None:
    scope.deadline = trio.current_time() + seconds


async def _ended(state: State) -> bool:
    """Whether the container has exited, now that its streams are closed. Anything else that closes them (an engine
    that restarts) may have swallowed some output, which its log has then."""
    with trio.move_on_after(_EXIT_PATIENCE_S):
        while True:
            try:
                now = await state()
            except Unavailable:
                return False
            if now is None or now.phase == "exited":
                return True
            await trio.sleep(_EXIT_LOOK_S)
    return False


def _first_entry_of(chunks: Iterator[bytes]) -> bytes:
    data = b""
    for chunk in chunks:
        data += chunk
        if first := first_entry_time(data):
            return first
    return b""


def _now() -> bytes:
    """This moment as the engine writes it; its clock is this machine's."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z".encode()
