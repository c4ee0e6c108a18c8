"""Ask whether a Docker Engine answers. A ``docker`` client on the PATH proves nothing, so this asks the engine itself.

Runs on a bare Python before anything is installed, and changes nothing. Prints one line and exits 0 when the engine
answers, 1 when there is none to talk to, 2 when there is one that this user may not talk to.
"""

# ruff: noqa: T201 (its one line of output is its answer)
from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from urllib.parse import urlsplit

TIMEOUT_S = 5.0
ANSWERS, SILENT, FORBIDDEN = 0, 1, 2


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the engine's unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def connection(address: str) -> http.client.HTTPConnection:
    """A connection for an address as in ``DOCKER_HOST``; TLS and ssh addresses are asked for as plain TCP."""
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return UnixConnection(parts.path)
    return http.client.HTTPConnection(parts.hostname or "localhost", parts.port or 2375, timeout=TIMEOUT_S)


def ask(address: str) -> tuple[int, str]:
    """The exit code and one line for people."""
    engine = connection(address)
    try:
        engine.request("GET", "/version")
        version = json.loads(engine.getresponse().read()).get("Version", "of unknown version")
    except PermissionError:
        return FORBIDDEN, f"the Docker Engine at {address} refuses this user"
    except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
        return SILENT, f"no Docker Engine answers at {address} ({error})"
    finally:
        engine.close()
    return ANSWERS, f"Docker Engine {version}"


if __name__ == "__main__":
    code, line = ask(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    print(line)
    sys.exit(code)
