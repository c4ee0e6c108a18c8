"""One watchdog per lease, found again by its lock."""

from __future__ import annotations

import fcntl
import socket
from pathlib import Path

import pytest

from market.errors import Unavailable
from runtime import watchdog
from runtime.lease_files import LeaseFiles
from runtime.watchdog import ensure_watchdog, watchdog_lives

LEASE = "0123456789abcdef"


def test_without_a_lock_or_with_a_free_one_none_lives(tmp_path: Path) -> None:
    files = LeaseFiles(tmp_path, LEASE)
    assert not watchdog_lives(files)
    files.make()
    files.watchdog_lock.touch()
    assert not watchdog_lives(files)


def test_a_held_lock_is_a_living_one_and_is_not_doubled(tmp_path: Path) -> None:
    files = LeaseFiles(tmp_path, LEASE)
    files.make()
    with open(files.watchdog_lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert watchdog_lives(files)
        assert not ensure_watchdog(files, engine_socket="/none", container="c1", stop_after_ms=1)
    assert not watchdog_lives(files)


def test_a_started_one_holds_the_lock_at_once_and_leaves_with_its_container(tmp_path: Path) -> None:
    files = LeaseFiles(tmp_path, LEASE)
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "sock"))
        engine.listen()
        assert ensure_watchdog(files, engine_socket=str(tmp_path / "sock"), container="c1", stop_after_ms=1)
        assert watchdog_lives(files)
        connection, _ = engine.accept()
        with connection:
            assert connection.recv(4096).startswith(b"GET /containers/c1/json")
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        with open(files.watchdog_lock) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)  # returns when the watchdog has ended


def test_one_that_cannot_start_keeps_the_job_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog.sys, "executable", "/no/such/python")
    with pytest.raises(Unavailable):
        ensure_watchdog(LeaseFiles(tmp_path, LEASE), engine_socket="/none", container="c1", stop_after_ms=1)
