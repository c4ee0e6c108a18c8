"""A development chain as a child process on a free loopback port: started, awaited, and surely ended.

Knows no chain software; ``anvil`` and ``local_chain`` say which program to run.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from market.errors import Unavailable

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
_POLL_S = 0.02


@asynccontextmanager
async def run_chain_process(command: Callable[[int], Sequence[str]], *, port: int = 0) -> AsyncIterator[str]:
    """Run ``command(port)`` and yield the address of its JSON-RPC. The process is gone when the block is left.

    Args:
        port: the loopback port to use; 0 takes a free one.

    Raises:
        Unavailable: ``chain_not_started``: it cannot be run, ended at once, or did not listen in time.
    """
    port = port or _free_port()
    words = list(command(port))
    try:
        # A log that nobody reads would fill its pipe and stop the chain; its last words on stderr are few.
        process = await trio.lowlevel.open_process(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise Unavailable(f"cannot run {words[0]}: {error.strerror}", code="chain_not_started") from error
    try:
        with trio.move_on_after(START_TIMEOUT_S) as patience:
            await _listening(process, port)
        if patience.cancelled_caught:
            raise Unavailable(f"{words[0]} did not listen in time", code="chain_not_started")
        yield f"http://127.0.0.1:{port}"
    finally:
        with trio.CancelScope(shield=True):
            await _stop(process)


async def _listening(process: trio.Process, port: int) -> None:
    while process.poll() is None:
        with suppress(OSError):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.aclose()
            return
        await trio.sleep(_POLL_S)
    last_words = b""
    if process.stderr is not None:
        last_words = await process.stderr.receive_some(2048)
    reason = " ".join(last_words.decode(errors="replace").split())[-200:]
    raise Unavailable(f"the chain ended at its start: {reason}", code="chain_not_started")


async def _stop(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    with trio.move_on_after(STOP_TIMEOUT_S):
        await process.wait()
        return
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _free_port() -> int:
    # Another program may take it before the chain does; then the chain ends at once and says so.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
