"""An endpoint that fails in every way becomes ``Unavailable`` with a code, and its secrets stay out of the words."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trio
from web3.exceptions import ContractLogicError

from ledger.evm_rpc import open_evm_rpc
from market.errors import InvalidRequest, Unavailable
from tests.fakes.faulty_rpc import CHAIN_ID, FaultyRpc, new_chain, serve_rpc

REVERTS = "0x60006000fd"


@asynccontextmanager
async def endpoint(answer: Callable[[], tuple[int, bytes]]) -> AsyncIterator[str]:
    """An HTTP server that answers everything with a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = answer()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(server.shutdown)
        thread.join()
        server.server_close()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


async def test_a_question_is_answered() -> None:
    async with serve_rpc(FaultyRpc(new_chain())) as url, open_evm_rpc(url) as rpc:
        assert await rpc.ask(lambda web3: web3.eth.chain_id) == CHAIN_ID


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>a proxy's page</html>"),
        (200, b""),
        (200, b"[1,2]"),
        (500, b"{}"),
        (429, b"slow down"),
        (200, b'{"jsonrpc":"2.0","id":1}'),
    ],
)
async def test_an_answer_that_is_none_means_unreachable(status: int, body: bytes) -> None:
    async with endpoint(lambda: (status, body)) as url, open_evm_rpc(url) as rpc:
        with pytest.raises(Unavailable) as silent:
            await rpc.ask(lambda web3: web3.eth.block_number)
    assert silent.value.code == "chain_unreachable"


async def test_an_error_answer_is_a_refusal_and_its_words_are_made_harmless() -> None:
    body = b'{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"no \\u001b[31mway"}}'
    async with endpoint(lambda: (200, body)) as url, open_evm_rpc(url) as rpc:
        with pytest.raises(Unavailable) as refused:
            await rpc.ask(lambda web3: web3.eth.block_number)
    assert refused.value.code == "chain_refused"
    assert "\x1b" not in refused.value.message


async def test_a_revert_is_left_to_the_caller() -> None:
    async with serve_rpc(FaultyRpc(new_chain())) as url, open_evm_rpc(url) as rpc:
        with pytest.raises(ContractLogicError):
            await rpc.ask(lambda web3: web3.eth.estimate_gas({"data": REVERTS}))  # type: ignore[typeddict-item]


async def test_nobody_at_the_address_means_unreachable() -> None:
    async with open_evm_rpc("http://127.0.0.1:9") as rpc:
        with pytest.raises(Unavailable) as silent:
            await rpc.tell(lambda web3: web3.eth.block_number)
    assert silent.value.code == "chain_unreachable"


async def test_an_endpoint_that_hangs_is_left_after_the_time_out(gate: threading.Event) -> None:
    def hang() -> tuple[int, bytes]:
        gate.wait(20)
        return 200, b"{}"

    async with endpoint(hang) as url, open_evm_rpc(url, timeout_s=0.1) as rpc:
        with trio.fail_after(10), pytest.raises(Unavailable):
            await rpc.ask(lambda web3: web3.eth.block_number)
        gate.set()


async def test_a_cancelled_question_does_not_wait_for_its_answer(gate: threading.Event) -> None:
    def hang() -> tuple[int, bytes]:
        gate.wait(20)
        return 200, b"{}"

    async with endpoint(hang) as url, open_evm_rpc(url, timeout_s=15) as rpc:
        with trio.fail_after(10):
            with trio.move_on_after(0.1) as scope:
                await rpc.ask(lambda web3: web3.eth.block_number)
            assert scope.cancelled_caught
        gate.set()


async def test_keys_in_the_address_are_not_repeated_in_errors() -> None:
    async with open_evm_rpc("http://name:secret-a@127.0.0.1:9/v3/secret-b?key=secret-c") as rpc:
        with pytest.raises(Unavailable) as silent:
            await rpc.ask(lambda web3: web3.eth.block_number)
    assert "http://127.0.0.1:9" in silent.value.message
    assert "secret" not in silent.value.message


@pytest.mark.parametrize("url", ["", "127.0.0.1:8545", "ws://127.0.0.1:1", "http://", "file:///etc/passwd"])
async def test_only_http_addresses_are_taken(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        async with open_evm_rpc(url):
            pass
    assert refused.value.code == "chain_url"
