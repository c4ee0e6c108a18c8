"""End one job at its time limit although the node is gone. A program of its own, standard library only.

The node starts one of these per lease (``watchdog.py``); it leaves the node's process group and session, so that
neither a crash nor ``kill -9`` of the node reaches it. It sleeps in a single request to the engine until the job has
exited or its time is up, then kills the container and leaves a mark. It must never touch another container, and never
end before its own has gone.

Limits: it does not survive a reboot (nor does the job), nor a service manager that ends the node's whole control
group (``KillMode=process`` or a scope of its own avoids that). The next start of the node puts it back.
"""

from __future__ import annotations

import calendar
import fcntl
import http.client
import json
import os
import signal
import socket
import sys
import time
from typing import Any

CALL_TIMEOUT_S = 20.0
LONGEST_NAP_S = 3600.0


class _EngineConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def request(engine: str, method: str, path: str, *, timeout: float = CALL_TIMEOUT_S) -> tuple[int, dict[str, Any]]:
    """One exchange with the engine.

    Raises:
        OSError, http.client.HTTPException: no answer; TimeoutError when it took longer than ``timeout`` seconds.
    """
    connection = _EngineConnection(engine, timeout)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read()
        return response.status, json.loads(body) if body.startswith(b"{") else {}
    finally:
        connection.close()


def watch(engine: str, container: str, *, stop_after_ms: int, mark: str) -> None:
    """Return once the container has gone or exited; kill it when its time is up."""
    created_polls = 0
    while True:
        try:
            status, inspected = request(engine, "GET", f"/containers/{container}/json")
            if status == 404:
                return
            phase = str(inspected["State"]["Status"])
            if phase in ("exited", "dead", "removing"):
                return
            if phase == "created":
                created_polls += 1
                time.sleep(0.5 if created_polls < 240 else 5.0)
                continue
            left_s = (_started_ms(inspected) + stop_after_ms) / 1000 - time.time()
            if left_s > 0:
                _sleep_until_exit(engine, container, min(left_s, LONGEST_NAP_S))
            else:
                _end(engine, container, mark)
        except (OSError, http.client.HTTPException, KeyError, ValueError):
            time.sleep(1.0)  # the engine restarts or is busy; a limit that gives up is none


def _sleep_until_exit(engine: str, container: str, seconds: float) -> None:
    try:
        request(engine, "POST", f"/containers/{container}/wait?condition=not-running", timeout=seconds)
    except TimeoutError:
        return


def _end(engine: str, container: str, mark: str) -> None:
    with open(mark, "w", encoding="ascii") as file:
        file.write(str(int(time.time() * 1000)))
    request(engine, "POST", f"/containers/{container}/unpause")  # a paused container refuses the kill
    request(engine, "POST", f"/containers/{container}/kill?signal=KILL")
    time.sleep(0.2)


def _started_ms(inspected: dict[str, Any]) -> int:
    text = str(inspected["State"]["StartedAt"])
    fraction = text[20:].rstrip("Z") if text[19:20] == "." else ""
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")) * 1000 + int((fraction + "000")[:3])


def _detach() -> None:
    """Become a child of init in a session of our own, so that nothing sent to the node reaches us."""
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")


def main(arguments: list[str]) -> int:
    """``deadline.py ENGINE_SOCKET CONTAINER STOP_AFTER_MS LOCK MARK``; a second one for the same lock ends at once."""
    engine, container, stop_after_ms, lock, mark = arguments
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    # The lock was taken before the fork and is shared by the child: whoever started us may rely on it at once.
    _detach()
    watch(engine, container, stop_after_ms=int(stop_after_ms), mark=mark)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
