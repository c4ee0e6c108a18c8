"""Start and find the process that ends a lease's job at its time limit (``deadline.py``).

The lock file is the truth: the watchdog holds it as long as it lives, so a node that comes back can tell in
microseconds whether one is needed, and two can never run for one lease.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from market.errors import Unavailable
from runtime import deadline
from runtime.lease_files import LeaseFiles

TIME_LIMIT_MARK = "time_limit"
_START_TIMEOUT_S = 20


def ensure_watchdog(files: LeaseFiles, *, engine_socket: str, container: str, stop_after_ms: int) -> bool:
    """Make sure a watchdog lives for this lease; returns whether one had to be started.

    Raises:
        Unavailable: it could not be started, so the job must not be started either.
    """
    files.make()
    if watchdog_lives(files):
        return False
    # -S -E: the script needs no package, and site-packages would triple its memory and start.
    command = [sys.executable, "-S", "-E", os.path.abspath(deadline.__file__), engine_socket, container]
    command += [str(stop_after_ms), str(files.watchdog_lock), str(files.directory / TIME_LIMIT_MARK)]
    try:
        subprocess.run(
            command,
            check=True,
            timeout=_START_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable("the time limit's watchdog could not be started", code="no_watchdog") from error
    return True


def watchdog_lives(files: LeaseFiles) -> bool:
    """Whether a watchdog holds the lease's lock."""
    lock = Path(files.watchdog_lock)
    if not lock.exists():
        return False
    descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
