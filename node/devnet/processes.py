"""The processes of a devnet: each started in a group of its own, watched, and always ended.

A process is named by a :class:`Ticket`, so that a number that the system has given to somebody else meanwhile is never
signalled. Nothing here knows what the processes do.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import trio
from msgspec import Struct

_POLL_S = 0.05


class Ticket(Struct, frozen=True):
    """A process for good: its number, and when it started (kernel ticks since boot)."""

    pid: int
    started: int


class Exit(Struct, frozen=True, kw_only=True):
    """A process ended. ``code`` is negative when a signal ended it, as in :mod:`subprocess`."""

    name: str
    code: int

    def __str__(self) -> str:
        if self.code < 0:
            return f"{self.name} was ended by {signal.Signals(-self.code).name}"
        return f"{self.name} ended with exit code {self.code}"


class Processes:
    """Children of this process, in order of start. Not for use from two tasks at once.

    Args:
        folder: where each child's output goes, as ``<name>.log``.
        outlive: the children stay when this process dies. Otherwise the kernel ends them with it, even at kill -9.
    """

    def __init__(self, folder: Path, *, outlive: bool) -> None:
        self._folder = folder
        self._outlive = outlive
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._tickets: dict[str, Ticket] = {}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a child in its own session. Call it from the main thread: the kernel ties the child's life to the
        *thread* that started it.

        Raises:
            OSError: the program cannot be started.
        """
        tie = [] if self._outlive else _tie_to_parent()
        with open(self.log(name), "ab") as log:
            child = subprocess.Popen(
                [*tie, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        self._children[name] = child
        self._tickets[name] = Ticket(child.pid, _start_tick(child.pid) or 0)

    def log(self, name: str) -> Path:
        """The file that holds what the child printed."""
        return self._folder / f"{name}.log"

    def tickets(self) -> dict[str, Ticket]:
        """All children ever started, oldest first."""
        return dict(self._tickets)

    def exited(self) -> list[Exit]:
        """The children that have ended so far."""
        codes = {name: child.poll() for name, child in self._children.items()}
        return [Exit(name=name, code=code) for name, code in codes.items() if code is not None]

    async def wait_exit(self, name: str) -> Exit:
        """Wait until this child ends."""
        child = self._children[name]
        if child.poll() is None:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(child.pid)
                try:
                    await trio.lowlevel.wait_readable(descriptor)
                finally:
                    os.close(descriptor)
        return Exit(name=name, code=child.wait())

    def stop(self, names: Iterable[str], *, grace_s: float) -> list[str]:
        """End children together: SIGTERM, ``grace_s`` seconds, SIGKILL. Returns the names that had to be killed."""
        chosen = [name for name in names if name in self._children]
        killed = end({name: self._tickets[name] for name in chosen}, grace_s=grace_s)
        for name in chosen:
            # Not reaped yet, so its group number is still ours: whatever the child itself started ends too.
            if self._children[name].returncode is None:
                _signal_group(self._tickets[name], signal.SIGKILL)
            self._children[name].wait()
        return killed


def end(tickets: Mapping[str, Ticket], *, grace_s: float) -> list[str]:
    """End processes, whoever started them: SIGTERM, ``grace_s`` seconds, SIGKILL. Returns those that had to be killed.

    It blocks, on purpose: it also runs when an event loop is already gone.
    """
    for ticket in tickets.values():
        _signal_group(ticket, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    left = {name: ticket for name, ticket in tickets.items() if is_alive(ticket)}
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = {name: ticket for name, ticket in left.items() if is_alive(ticket)}
    for ticket in left.values():
        _signal_group(ticket, signal.SIGKILL)
    return list(left)


def is_alive(ticket: Ticket) -> bool:
    """Whether that very process still runs (one that ended and was not yet reaped does not)."""
    return _start_tick(ticket.pid) == ticket.started


def processes_naming(folders: Iterable[str]) -> list[int]:
    """Processes, other than this one, with one of these folders as a word of their command line (or ``--home=`` it)."""
    words = {word.encode() for folder in folders for word in (folder, f"--home={folder}")}
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if words & set((entry / "cmdline").read_bytes().split(b"\0")):
                    found.append(int(entry.name))
    return sorted(found)


def _start_tick(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()  # the name before the bracket may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def _signal_group(ticket: Ticket, number: signal.Signals) -> None:
    if ticket.pid <= 1:
        raise ValueError("group 1 is every process of the machine to the kernel, and group 0 is ours")
    with suppress(ProcessLookupError, PermissionError):
        if is_alive(ticket) or number is signal.SIGKILL:
            os.killpg(ticket.pid, number)


def _tie_to_parent() -> list[str]:
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "TERM"] if program else []
