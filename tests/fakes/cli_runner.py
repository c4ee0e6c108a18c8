"""Run ``cfab`` in a test: in this process with captured streams, or as a process of its own, on a terminal or not."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from node.cli import main

DEADLINE_S = 30


@dataclass(frozen=True)
class Outcome:
    """What one call came to."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """Stdout as one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Stdout as one JSON object per line."""
        return [json.loads(line) for line in self.out.splitlines()]


def cfab(home: Path, *words: str, stdin: bytes = b"", environ: dict[str, str] | None = None) -> Outcome:
    """Run one command in this process. Stdout and stderr are no terminals."""
    out, err, given = io.BytesIO(), io.BytesIO(), io.BytesIO(stdin)
    environment = {"CFAB_HOME": str(home), "PATH": os.environ["PATH"], "HOME": str(home), **(environ or {})}
    out_text, err_text = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in (out, err))
    with (
        contextlib.redirect_stdout(out_text),
        contextlib.redirect_stderr(err_text),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(given, "utf-8")),
        mock.patch.dict(os.environ, environment, clear=True),
    ):
        code = main(list(words))
    return Outcome(code, out.getvalue(), err.getvalue().decode())


class Terminal:
    """A ``cfab`` process whose three streams are one terminal."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.master = master
        self.seen = b""

    def wait_for(self, text: str) -> bytes:
        """Read until ``text`` appears; returns everything so far."""
        deadline = time.monotonic() + DEADLINE_S
        while text.encode() not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"never saw {text!r} in {self.seen!r}"
            if not self._read(left):
                raise AssertionError(f"ended without {text!r}: {self.seen!r}")
        return self.seen

    def type(self, text: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self.master, text.encode())

    def finish(self) -> tuple[int, bytes]:
        """Read to the end; returns exit code and everything shown."""
        while self._read(DEADLINE_S):
            pass
        return self.process.wait(DEADLINE_S), self.seen

    def _read(self, timeout: float) -> bool:
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        try:
            piece = os.read(self.master, 65536)
        except OSError:  # the other end of a terminal closes with an error, not with an end
            return False
        self.seen += piece
        return bool(piece)


@contextmanager
def on_terminal(home: Path, *words: str) -> Iterator[Terminal]:
    """Start ``cfab`` on a terminal of its own; it is killed if it outlives the block."""
    master, slave = pty.openpty()
    environment = {**os.environ, "CFAB_HOME": str(home), "TERM": "xterm", "PYTHONUTF8": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "node.cli", *words],
        stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def _take_terminal() -> None:
    """Make the slave this session's terminal, so that Ctrl-C typed on it becomes a signal."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    # A test run started in the background ignores the signal, and would hand that down.
    signal.signal(signal.SIGINT, signal.default_int_handler)
