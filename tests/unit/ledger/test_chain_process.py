"""A chain as a child process: found listening, its failure told in one sentence, and always gone afterwards."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio

from ledger import chain_process
from ledger.chain_process import run_chain_process
from market.errors import Unavailable

LISTENER = """
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
open(sys.argv[2], "w").write(str(os.getpid()))
while True: server.accept()
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_process_listens_while_the_block_runs_and_is_gone_after(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    async with run_chain_process(lambda port: [sys.executable, "-c", LISTENER, str(port), str(note)]) as url:
        assert url.startswith("http://127.0.0.1:")
        pid = int(note.read_text())
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_a_cancelled_block_leaves_no_process(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with trio.CancelScope() as scope:
        async with run_chain_process(lambda port: [sys.executable, "-c", LISTENER, str(port), str(note)]):
            scope.cancel()
            await trio.sleep_forever()
    assert not is_alive(int(note.read_text()))


async def test_a_process_that_ignores_being_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_process, "STOP_TIMEOUT_S", 0.1)
    note = tmp_path / "pid"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + LISTENER
    with trio.fail_after(20):
        async with run_chain_process(lambda port: [sys.executable, "-c", stubborn, str(port), str(note)]):
            pid = int(note.read_text())
    assert not is_alive(pid)


async def test_a_process_that_ends_at_once_is_told_with_its_last_words() -> None:
    with pytest.raises(Unavailable) as failed:
        async with run_chain_process(lambda port: [sys.executable, "-c", "raise SystemExit('no such option')"]):
            pass
    assert failed.value.code == "chain_not_started"
    assert "no such option" in failed.value.message


async def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(Unavailable) as failed:
        async with run_chain_process(lambda port: ["/nonexistent/anvil"]):
            pass
    assert failed.value.code == "chain_not_started"


async def test_a_process_that_never_listens_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_process, "START_TIMEOUT_S", 0.3)
    with trio.fail_after(20), pytest.raises(Unavailable) as failed:
        async with run_chain_process(lambda port: [sys.executable, "-c", "import time; time.sleep(60)"]):
            pass
    assert failed.value.code == "chain_not_started"
