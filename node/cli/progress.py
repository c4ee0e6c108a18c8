"""Shows a job's story on stderr: on a terminal one line per finished step and a moving line for the current one; off a
terminal one plain line per change of state. The job's own output goes to stdout, through the same lock.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from node.cli.auction_lines import Propose
from node.cli.story import Line, Story
from node.cli.terminal import JobOutput, dim, mark, safe
from node.quantities import format_duration

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_REFRESH_S = 0.1
_QUIET_AFTER_S = 1.0
"""How long the job's output must rest before the moving line comes back below it."""
_CLEAR = "\r\x1b[2K"


class Progress:
    """One job on one terminal. Use as a context manager; leaving it ends the moving line.

    Args:
        quiet: show nothing but the job's output.
        ticks: also print a line for each payment.
        propose: how the job's owner would type a change.
    """

    def __init__(self, *, quiet: bool = False, ticks: bool = False, propose: Propose | None = None) -> None:
        self.story = Story(propose)
        self._output = JobOutput()
        self._tty = sys.stderr.isatty()
        self._quiet = quiet
        self._ticks = ticks
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._drawn = False
        self._written_at = 0.0
        self._step_at = time.monotonic()
        self._mover: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._tty and not self._quiet:
            self._mover = threading.Thread(target=self._move, daemon=True)
            self._mover.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        if self._mover is not None:
            self._mover.join()
        with self._lock:
            self._erase()

    def event(self, event: dict[str, Any]) -> None:
        """Show the next event."""
        with self._lock:
            lines = self.story.tell(event)
            if event.get("type") != "paid":
                self._step_at = time.monotonic()
            for line in lines:
                if not line.tick or self._ticks:
                    self._print(line)

    def output(self, data: bytes) -> None:
        """Write a piece of the job's output."""
        with self._lock:
            self._erase()
            self._output.write(data)
            self._written_at = time.monotonic()

    def say(self, text: str) -> None:
        """A line that is no event, such as how to come back."""
        with self._lock:
            self._print(Line("plain", "", safe(text)))

    def _print(self, line: Line) -> None:
        if self._quiet:
            return
        self._erase()
        if not self._output.at_line_start and self._tty:
            sys.stderr.write("\n")
            self._output.at_line_start = True
        sys.stderr.write(render(line) + "\n")
        sys.stderr.flush()

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._drawn = False

    def _move(self) -> None:
        frame = 0
        while not self._stop.wait(_REFRESH_S):
            with self._lock:
                resting = time.monotonic() - self._written_at > _QUIET_AFTER_S
                if self.story.waiting_for and resting and self._output.at_line_start:
                    frame += 1
                    sys.stderr.write(_CLEAR + self._moving_line(frame))
                    sys.stderr.flush()
                    self._drawn = True

    def _moving_line(self, frame: int) -> str:
        waited = format_duration(int((time.monotonic() - self._step_at) * 1000))
        money = f" · {self.story.money_line}" if self.story.money_line else ""
        return f"{_SPINNER[frame % len(_SPINNER)]} {self.story.waiting_for}{money}  {waited}"


def render(line: Line) -> str:
    """One finished line as text."""
    if line.kind == "plain":
        return f"  {line.text}"
    took = dim("  " + format_duration(int(line.seconds * 1000))) if line.seconds and line.seconds >= 0.1 else ""
    return f"{mark(line.kind)} {line.stage:<10}{line.text}{took}"
