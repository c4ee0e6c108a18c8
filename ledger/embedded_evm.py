"""``python -m ledger.embedded_evm``: a development chain in one process, for machines without anvil.

Serves JSON-RPC over HTTP on the loopback address only, as its accounts' keys are known to the world. All state is in
memory and gone at the end. Never a place for anything of value.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ledger.embedded_chain import EmbeddedChain
from ledger.embedded_rpc import EmbeddedRpc, RpcError

DEV_ACCOUNT = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
"""The first account of the phrase "test test … junk", which development chains fund by custom."""
DEV_FUNDS_WEI = 10_000 * 10**18
MAX_BODY = 4 * 1024 * 1024
MAX_BATCH = 500
_IDLE_S = 60
_PARSE_ERROR = -32700
_BAD_REQUEST = -32600


def main(words: list[str] | None = None) -> None:
    """Serve until killed. Prints the address on one line when it is ready, as anvil does."""
    parser = argparse.ArgumentParser(prog="python -m ledger.embedded_evm", description="A development chain.")
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--chain-id", type=int, default=31337)
    parser.add_argument("--block-time", type=float, default=1, help="seconds between empty blocks")
    asked = parser.parse_args(words)
    chain = EmbeddedChain(
        chain_id=asked.chain_id,
        now_s=time.time,
        block_time_s=max(0.01, asked.block_time),
        funded={DEV_ACCOUNT: DEV_FUNDS_WEI},
    )
    server = make_server(EmbeddedRpc(chain), asked.port)
    sys.stdout.write(f"Listening on 127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


def make_server(rpc: EmbeddedRpc, port: int) -> ThreadingHTTPServer:
    """An HTTP server on 127.0.0.1 that answers with ``rpc``, one request at a time; not yet serving."""

    class Handler(_Handler):
        answerer = rpc
        lock = threading.Lock()

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    return server


class _Handler(BaseHTTPRequestHandler):
    answerer: EmbeddedRpc
    lock: threading.Lock
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    # Headers and body leave in one piece; in two, each answer would wait 40 ms for the client's acknowledgement.
    wbufsize = 65536

    def do_POST(self) -> None:
        """One JSON-RPC request or a batch of them."""
        length = int(self.headers.get("content-length", "0"))
        if not 0 < length <= MAX_BODY:
            self.send_error(413)
            return
        body = json.dumps(self._answer(self.rfile.read(length))).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the only line on the output is the address."""

    def _answer(self, body: bytes) -> Any:
        try:
            asked = json.loads(body)
        except ValueError:
            return {"jsonrpc": "2.0", "id": None, "error": {"code": _PARSE_ERROR, "message": "not JSON"}}
        if isinstance(asked, list):
            return [self._answer_one(request) for request in asked[:MAX_BATCH]]
        return self._answer_one(asked)

    def _answer_one(self, asked: Any) -> dict[str, Any]:
        if not isinstance(asked, dict):
            return {"jsonrpc": "2.0", "id": None, "error": {"code": _BAD_REQUEST, "message": "not a request"}}
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked.get("id")}
        try:
            with self.lock:
                answer["result"] = self.answerer.answer(str(asked.get("method")), list(asked.get("params") or ()))
        except RpcError as error:
            answer["error"] = error.answer
        return answer


if __name__ == "__main__":
    main()
