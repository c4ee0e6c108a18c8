"""What a devnet left in the container engine: containers, networks and volumes labelled with one of its nodes.

Asks the engine itself over plain HTTP, apart from the runtime, so that a fault there cannot hide what it forgot. It
touches nothing without such a label.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlsplit

from market.errors import Unavailable

LABEL = "cfab.node"
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_TIMEOUT_S = 20.0
_KINDS = {"container": "/containers/json?all=1&", "network": "/networks?", "volume": "/volumes?"}
_REMOVE = {"container": "/containers/{}?force=1&v=1", "network": "/networks/{}", "volume": "/volumes/{}?force=1"}


class EngineLeftovers:
    """Finds and removes what nodes left. ``address`` as in ``DOCKER_HOST`` (``unix://`` or ``tcp://``)."""

    def __init__(self, address: str | None = None) -> None:
        self._address = urlsplit(address or os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS)

    def find(self, node_ids: Iterable[str]) -> list[tuple[str, str]]:
        """``(kind, id)`` of everything labelled with one of these nodes.

        Raises:
            Unavailable: the engine does not answer.
        """
        found: list[tuple[str, str]] = []
        for node_id in node_ids:
            filters = quote(json.dumps({"label": [f"{LABEL}={node_id}"]}))
            for kind, path in _KINDS.items():
                answer = self._call("GET", f"{path}filters={filters}")
                items = answer["Volumes"] or [] if kind == "volume" else answer
                found += [(kind, str(item.get("Id") or item["Name"])) for item in items]
        return found

    def remove(self, found: Iterable[tuple[str, str]]) -> None:
        """Remove what :meth:`find` returned; what is gone already is no fault."""
        for kind, name in found:
            self._call("DELETE", _REMOVE[kind].format(name))

    def _call(self, method: str, path: str) -> Any:
        connection = self._connection()
        try:
            connection.request(method, path)
            body = connection.getresponse().read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"the Docker Engine does not answer ({type(error).__name__})",
                code="engine_unreachable",
                fix="service docker start",
            ) from error
        finally:
            connection.close()
        return json.loads(body) if body else None

    def _connection(self) -> http.client.HTTPConnection:
        if self._address.scheme == "unix":
            return _UnixConnection(self._address.path)
        return http.client.HTTPConnection(
            self._address.hostname or "localhost", self._address.port or 2375, timeout=_TIMEOUT_S
        )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)
