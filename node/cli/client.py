"""Talks to the running node: HTTP over its unix socket, with the standard library only."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from market.errors import FabricError, InvalidRequest, Unavailable
from node.api_errors import API_HEADER, API_VERSION

_TIMEOUT_S = 30.0
_MAX_LINE = 16 * 1024 * 1024
_LONGEST_SOCKET_PATH = 107
"""Bytes; unix(7)."""
_UNKNOWN_THERE = ("invalid_request", "no_such_path", "wrong_method")
"""How a node refuses what it has never heard of."""


class ApiError(FabricError):
    """What the node answered instead of data."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(
            str(body.get("message", "the node refused")),
            code=str(body.get("code", "failed")),
            fix=str(body.get("fix", "")),
            where=str(body.get("where", "")),
        )
        self.retryable = bool(body.get("retryable", False))


class NodeClient:
    """One node, reached by its socket. Each call is its own connection."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def get(self, *segments: str, **query: object) -> Any:
        """Ask for one JSON document.

        Raises:
            Unavailable: ``node_not_running``, or it does not answer.
            ApiError: the node's own refusal.
        """
        return self._exchange("GET", _path(segments, query), None)

    def post(self, *segments: str, body: dict[str, Any] | None = None, timeout_s: float = _TIMEOUT_S) -> Any:
        """Ask for a change. What waits for a chain's block needs a longer time-out than the usual one.

        Raises:
            Unavailable, ApiError: as for :meth:`get`.
        """
        return self._exchange("POST", _path(segments, {}), body or {}, timeout_s=timeout_s)

    def process_id(self) -> int:
        """The process that listens on the socket, as the kernel knows it.

        Raises:
            Unavailable: ``node_not_running``.
        """
        connection = _UnixConnection(self._path, _TIMEOUT_S)
        try:
            with self._clear_failures():
                connection.connect()
            raw = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        finally:
            connection.close()
        return int.from_bytes(raw[:4], sys.byteorder)

    @contextmanager
    def stream(self, *segments: str, **query: object) -> Iterator[Iterator[dict[str, Any]]]:
        """Follow a stream of JSON objects until the node ends it or the block is left.

        Raises:
            Unavailable, ApiError: as for :meth:`get`; also in the middle of the stream.
        """
        connection = _UnixConnection(self._path, None)
        try:
            with self._clear_failures():
                connection.request("GET", _path(segments, query))
                response = connection.getresponse()
                if response.status >= 400:
                    raise _refusal(response.read(_MAX_LINE), response)
            yield self._objects(response)
        finally:
            connection.close()

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None, *, timeout_s: float = _TIMEOUT_S) -> Any:
        connection = _UnixConnection(self._path, timeout_s)
        payload = None if body is None else json.dumps(body).encode()
        try:
            with self._clear_failures(timeout_s):
                connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
                response = connection.getresponse()
                raw = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            raise _refusal(raw, response)
        return _decoded(raw)

    def _objects(self, response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
        while True:
            # Only the reading is guarded: a reader of ours that went away is not a node that went away.
            with self._clear_failures():
                line = response.readline(_MAX_LINE)
            if not line:
                return
            item = _decoded(line)
            if isinstance(item, dict) and isinstance(item.get("error"), dict) and "type" not in item:
                raise ApiError(item["error"])
            yield item

    @contextmanager
    def _clear_failures(self, timeout_s: float = _TIMEOUT_S) -> Iterator[None]:
        where = str(self._path)
        try:
            yield
        except (FileNotFoundError, ConnectionRefusedError):
            fix = "start one with 'cfab up'"
            raise Unavailable("no node is running here", code="node_not_running", fix=fix, where=where) from None
        except PermissionError:
            raise InvalidRequest("this node belongs to another user", code="not_permitted", where=where) from None
        except TimeoutError:
            raise Unavailable(f"the node did not answer within {timeout_s:.0f} s", code="timeout") from None
        except (http.client.HTTPException, ConnectionError):
            raise Unavailable("the node stopped in the middle of its answer", code="node_stopped") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("node", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        if len(os.fsencode(self._path)) > _LONGEST_SOCKET_PATH:
            raise InvalidRequest(
                "the path of the node's socket is too long for the system",
                code="bad_home",
                fix="choose a shorter home with --home or CFAB_HOME, or set api_socket under [node]",
                where=str(self._path),
            )
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _path(segments: tuple[str, ...], query: dict[str, object]) -> str:
    given = {name: _text(value) for name, value in query.items() if value not in (None, "")}
    path = "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
    return path + ("?" + urlencode(given) if given else "")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(raw: bytes, response: http.client.HTTPResponse) -> ApiError:
    body = _decoded(raw)
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {"code": "bad_answer", "message": "the node refused"}
    said = response.getheader(API_HEADER, "1")
    version = int(said) if said.isascii() and said.isdigit() else 1
    if error.get("code") in _UNKNOWN_THERE and version != API_VERSION:
        than = "older" if version < API_VERSION else "newer"
        error = {
            **error,
            "message": f"the running node is {than} than this command, and refused: {error.get('message')}",
            "fix": "start it again with this one: cfab down && cfab up" if than == "older" else "use the newer cfab",
        }
    return ApiError(error)


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise Unavailable("the node's answer cannot be read", code="bad_answer") from None
