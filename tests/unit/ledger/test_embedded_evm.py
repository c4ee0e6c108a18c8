"""The embedded chain's HTTP server: single requests and batches, bounded bodies, and nothing but the loopback."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ledger.embedded_evm import MAX_BATCH, MAX_BODY, make_server
from ledger.embedded_rpc import EmbeddedRpc
from tests.fakes.faulty_rpc import new_chain


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    server = make_server(EmbeddedRpc(new_chain()), 0)
    assert server.server_address[0] == "127.0.0.1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", int(server.server_address[1]), timeout=10)
    yield client
    client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def post(connection: http.client.HTTPConnection, body: bytes) -> Any:
    connection.request("POST", "/", body, {"content-type": "application/json"})
    return json.loads(connection.getresponse().read())


def ask(method: str, id: int = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": []}


def test_a_request_and_a_batch_are_answered_on_one_connection(connection: http.client.HTTPConnection) -> None:
    assert post(connection, json.dumps(ask("eth_chainId", 7)).encode()) == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": "0x7a69",
    }
    batch = [ask("eth_chainId", id) for id in range(MAX_BATCH + 5)]
    answers = post(connection, json.dumps(batch).encode())
    assert [answer["id"] for answer in answers] == list(range(MAX_BATCH))


@pytest.mark.parametrize(("body", "code"), [(b"{", -32700), (b"5", -32600), (b'{"method":"no_such"}', -32601)])
def test_a_bad_request_is_told_and_the_connection_lives_on(
    connection: http.client.HTTPConnection, body: bytes, code: int
) -> None:
    assert post(connection, body)["error"]["code"] == code
    assert post(connection, json.dumps(ask("eth_chainId")).encode())["result"] == "0x7a69"


def test_a_body_beyond_the_bound_is_refused_unread(connection: http.client.HTTPConnection) -> None:
    connection.putrequest("POST", "/")
    connection.putheader("content-length", str(MAX_BODY + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413


def test_an_answer_leaves_in_one_piece(connection: http.client.HTTPConnection) -> None:
    # Headers and body in two packets would make every call wait 40 ms for the client's acknowledgement.
    body = json.dumps(ask("eth_chainId")).encode()
    connection.connect()
    assert connection.sock is not None
    connection.sock.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    received = connection.sock.recv(65536)
    assert received.startswith(b"HTTP/1.1 200")
    assert b"0x7a69" in received
