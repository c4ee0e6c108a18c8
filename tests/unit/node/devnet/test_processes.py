"""Real child processes, started and ended; nothing is mocked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from node.devnet.processes import Exit, Processes, Ticket, end, is_alive

WAIT_S = 20
SLEEPER = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


@pytest.fixture
def processes(tmp_path: Path):
    group = Processes(tmp_path, outlive=False)
    yield group
    group.stop(list(group.tickets()), grace_s=0.1)


def until(condition: Callable[[], bool]) -> None:
    """Another process can only be watched from outside: look again until it is so, or fail."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def until_up(processes: Processes, name: str) -> None:
    until(lambda: b"up" in processes.log(name).read_bytes())


async def test_a_child_that_ends_by_itself_is_reported_with_its_code(processes: Processes):
    processes.start("worker", [sys.executable, "-c", "raise SystemExit(7)"])
    with trio.fail_after(WAIT_S):
        assert await processes.wait_exit("worker") == Exit(name="worker", code=7)
    assert processes.exited() == [Exit(name="worker", code=7)]


async def test_a_killed_child_is_reported_with_its_signal(processes: Processes):
    processes.start("worker", SLEEPER)
    until_up(processes, "worker")
    assert processes.exited() == []
    os.kill(processes.tickets()["worker"].pid, signal.SIGKILL)
    with trio.fail_after(WAIT_S):
        gone = await processes.wait_exit("worker")
    assert str(gone) == "worker was ended by SIGKILL"


def test_stop_ends_what_listens_and_kills_what_does_not(processes: Processes):
    processes.start("polite", SLEEPER)
    processes.start("deaf", DEAF)
    for name in ("polite", "deaf"):
        until_up(processes, name)
    assert processes.stop(["polite", "deaf"], grace_s=0.5) == ["deaf"]
    assert not any(is_alive(ticket) for ticket in processes.tickets().values())


def test_grandchildren_end_with_the_child(processes: Processes, tmp_path: Path):
    program = textwrap.dedent(
        """
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(sys.argv[1], "w").write(str(child.pid))
        print("up", flush=True)
        """
    )
    note = tmp_path / "pid"
    processes.start("parent", [sys.executable, "-c", program, str(note)])
    until_up(processes, "parent")
    stat = Path(f"/proc/{note.read_text()}/stat").read_text().rpartition(")")[2].split()
    grandchild = Ticket(int(note.read_text()), int(stat[19]))
    processes.stop(["parent"], grace_s=0.1)
    until(lambda: not is_alive(grandchild))


def test_children_do_not_survive_a_killed_parent(tmp_path: Path):
    program = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from node.devnet.processes import Processes
        group = Processes(Path({str(tmp_path)!r}), outlive=False)
        group.start("child", {SLEEPER!r})
        ticket = group.tickets()["child"]
        print(ticket.pid, ticket.started, flush=True)
        time.sleep(600)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        ticket = Ticket(*(int(part) for part in parent.stdout.readline().split()))
        until(lambda: b"up" in (tmp_path / "child.log").read_bytes())  # the tie is made before the program runs
        parent.kill()
    until(lambda: not is_alive(ticket))


def test_a_number_that_went_to_somebody_else_is_left_alone():
    stranger = Ticket(os.getpid(), 1)
    assert not is_alive(stranger)
    assert end({"gone": stranger}, grace_s=0.1) == []


@pytest.mark.parametrize("pid", [-1, 0, 1])
def test_a_damaged_ticket_never_reaches_everybody(pid: int, monkeypatch: pytest.MonkeyPatch):
    sent = []
    monkeypatch.setattr(os, "killpg", lambda *signalled: sent.append(signalled))
    with pytest.raises(ValueError, match="every process"):
        end({"damaged": Ticket(pid, 0)}, grace_s=0)
    assert sent == []
