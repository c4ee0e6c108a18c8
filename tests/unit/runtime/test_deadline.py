"""The hard stop against an engine of a few lines, so that every answer an engine can give is tried."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from runtime.deadline import watch


class Engine(ThreadingMixIn, UnixStreamServer):
    """Answers for one container in a state the test chooses; remembers what it was told to do."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        self.state: dict[str, str] | None = {"Status": "running", "StartedAt": stamp(0)}
        self.told: list[str] = []
        self.failures = 0
        super().__init__(path, Handler)


class Handler(BaseHTTPRequestHandler):
    server: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.failures:
            self.server.failures -= 1
            self.answer(500, b"{}")
        elif self.server.state is None:
            self.answer(404, b"{}")
        else:
            self.answer(200, json.dumps({"State": self.server.state}).encode())

    def do_POST(self) -> None:
        verb = self.path.split("/")[3].partition("?")[0]
        if verb != "wait":
            self.server.told.append(verb)
        if verb == "kill":
            self.server.state = {"Status": "exited", "StartedAt": stamp(0)}
        if verb == "wait":
            time.sleep(0.5)
        self.answer(200, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except BrokenPipeError:
            return

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:
        return


def stamp(seconds_ago: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - seconds_ago)) + ".000000000Z"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(str(tmp_path / "sock")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(engine: Engine, tmp_path: Path, stop_after_ms: int) -> bool:
    """Watch to the end; returns whether the mark was left."""
    mark = tmp_path / "mark"
    watch(str(tmp_path / "sock"), "c1", stop_after_ms=stop_after_ms, mark=str(mark))
    return mark.exists()


def test_a_job_over_its_time_is_marked_thawed_and_killed(engine: Engine, tmp_path: Path) -> None:
    engine.state = {"Status": "paused", "StartedAt": stamp(10)}
    assert run(engine, tmp_path, 5_000)
    assert engine.told == ["unpause", "kill"]


def test_a_job_within_its_time_is_left_alone_until_then(engine: Engine, tmp_path: Path) -> None:
    engine.state = {"Status": "running", "StartedAt": stamp(1)}
    assert run(engine, tmp_path, 2_500)
    assert engine.told == ["unpause", "kill"]


@pytest.mark.parametrize("status", ["exited", "dead", "removing"])
def test_a_job_that_has_ended_needs_nothing(engine: Engine, tmp_path: Path, status: str) -> None:
    engine.state = {"Status": status, "StartedAt": stamp(100)}
    assert not run(engine, tmp_path, 1)
    assert engine.told == []


def test_a_container_that_is_gone_ends_the_watch(engine: Engine, tmp_path: Path) -> None:
    engine.state = None
    assert not run(engine, tmp_path, 1)


def test_an_engine_that_fails_for_a_while_is_asked_again(engine: Engine, tmp_path: Path) -> None:
    engine.state, engine.failures = {"Status": "running", "StartedAt": stamp(10)}, 1
    assert run(engine, tmp_path, 5_000)
    assert engine.told == ["unpause", "kill"]
