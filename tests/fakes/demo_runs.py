"""Not a fake: the real demo as a child process, its JSON lines read one by one, and a look at what it left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.devnet.engine_leftovers import EngineLeftovers
from node.devnet.retire import retire_nodes

END_TIMEOUT_S = 200
STOP_TIMEOUT_S = 30


class DemoRun:
    """One run of ``cfab demo --json``. ``lines`` are the JSON objects so far, job output left out."""

    def __init__(self, *words: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "node.cli", "demo", "--json", *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
        )
        self.lines: list[dict[str, Any]] = []
        self.log = b""

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read on to the first line for which it holds."""
        for line in self._read():
            if condition(line):
                return line
        raise AssertionError(f"the demo ended early: {self.lines[-4:]}")

    def until_working(self) -> None:
        """Read on until the job has run for some payments."""
        self.until(lambda line: line["type"] == "paid" and line["sequence"] == 3)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        for _ in self._read():
            pass
        return self.process.wait(END_TIMEOUT_S)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The lines of one type."""
        return [line for line in self.lines if line["type"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        """The only line of this type."""
        (line,) = self.all(kind)
        return line

    def checks(self, about: str) -> list[bool]:
        """Whether the checks whose text begins so held."""
        return [line["ok"] for line in self.all("check") if line["text"].startswith(about)]

    def kill(self, name: str) -> None:
        """End one of the market's processes the hard way."""
        os.kill(self.one("nodes")["processes"][name], signal.SIGKILL)

    def homes(self) -> dict[str, Path]:
        """Engine node id → home of each node."""
        return {node_id: Path(home) for line in self.all("nodes") for node_id, home in line["homes"].items()}

    def alive(self) -> list[str]:
        """The market's processes that still run."""
        pids = {name: pid for line in self.all("nodes") for name, pid in line["processes"].items()}
        return [name for name, pid in pids.items() if _runs(pid)]

    def left_in_engine(self) -> list[tuple[str, str]]:
        """Containers, networks and volumes of the market's nodes that the engine still has."""
        return EngineLeftovers().find(self.homes())

    def folder(self) -> Path:
        """The market's folder."""
        return Path(self.one("nodes")["folder"])

    def clean_up(self) -> None:
        """Leave nothing, whatever the test did or failed to do."""
        if self.process.poll() is None:
            self.process.terminate()
            for _ in self._read():
                pass
            self.process.wait(STOP_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self.all("nodes"):
            retire_nodes(self.homes())
            shutil.rmtree(self.folder(), ignore_errors=True)

    def _read(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            line = json.loads(text)
            if line["type"] != "log":
                self.lines.append(line)
                yield line


@contextmanager
def demo_run(*words: str, env: dict[str, str] | None = None) -> Iterator[DemoRun]:
    """A running demo that is surely gone at the end of the block."""
    run = DemoRun(*words, env=env)
    try:
        yield run
    finally:
        run.clean_up()


def until(condition: Callable[[], bool], *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Other processes can only be watched from outside: look again until it is so, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
