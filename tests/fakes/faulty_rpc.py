"""The embedded chain over real HTTP, with the faults that a distant endpoint has."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import trio

from ledger.embedded_chain import EmbeddedChain
from ledger.embedded_evm import DEV_ACCOUNT, DEV_FUNDS_WEI, make_server
from ledger.embedded_rpc import EmbeddedRpc
from ledger.raw_transaction import read_transaction

CHAIN_ID = 31337
GWEI = 10**9


_LOCKS: WeakKeyDictionary[EmbeddedChain, threading.Lock] = WeakKeyDictionary()


class Answerer(Protocol):
    """What the server asks for results."""

    def answer(self, method: str, parameters: list[Any]) -> Any: ...


def new_chain(block_s: float = 0.05, now_s: Callable[[], float] = time.time) -> EmbeddedChain:
    return EmbeddedChain(chain_id=CHAIN_ID, now_s=now_s, block_time_s=block_s, funded={DEV_ACCOUNT: DEV_FUNDS_WEI})


class FaultyRpc:
    """Answers like the embedded chain, except as its knobs say.

    Attributes:
        asked: how often each method was called.
        answers_to_lose: by method, how many of the next answers are lost *after* the chain has done its part.
        canned: by method, what to answer instead of asking the chain.
        tip_needed: transactions with a smaller tip are accepted, kept in ``held``, and never mined.
        gate: sends wait until it is set.
        dead: every request is cut off.

    Several of them may tell of one chain.
    """

    def __init__(self, chain: EmbeddedChain) -> None:
        self.dead = False
        self.chain = chain
        self.asked: Counter[str] = Counter()
        self.answers_to_lose: Counter[str] = Counter()
        self.canned: dict[str, Any] = {}
        self.tip_needed = 0
        self.held: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()
        self._rpc = EmbeddedRpc(chain)
        self._lock = _LOCKS.setdefault(chain, threading.Lock())

    def answer(self, method: str, parameters: list[Any]) -> Any:
        self.asked[method] += 1
        if self.dead:
            raise ConnectionResetError("nobody is here")
        if method in self.canned:
            return self.canned[method]
        if method == "eth_sendRawTransaction":
            assert self.gate.wait(timeout=20), "the test never opened the gate"
            sent = read_transaction(bytes.fromhex(parameters[0][2:]))
            if sent.tip_cap < self.tip_needed:
                self.held.append(sent.hash)
                return "0x" + sent.hash.hex()
        with self._lock:
            result = self._rpc.answer(method, parameters)
        if self.answers_to_lose[method]:
            self.answers_to_lose[method] -= 1
            raise ConnectionResetError("the answer is lost")
        return result


@asynccontextmanager
async def serve_rpc(answerer: Answerer) -> AsyncIterator[str]:
    """Serve from a thread of this process; at the end every connection is cut."""
    server = make_server(answerer, 0)  # type: ignore[arg-type]
    accept, connections = server.process_request, []

    def process_request(request: Any, address: Any) -> None:
        connections.append(request)
        accept(request, address)

    server.process_request = process_request  # type: ignore[method-assign]
    # A lost answer is an exception in the handler; it need not be shouted on stderr.
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
        thread.join()
        server.server_close()
        # Kept-alive connections have threads of their own, which outlive the server's end.
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
