"""What can be learnt about the engine's own process, which decides what its containers can be given.

Read from ``/proc`` through the engine's pid file; where that is missing (rootless engines, other engines), the usual
case is assumed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PID_FILE = Path("/var/run/docker.pid")
MAX_OPEN_FILES = 65536
_CAP_SYS_RESOURCE = 1 << 24


def engine_pid(pid_file: Path = PID_FILE) -> int | None:
    try:
        return int(pid_file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def shares_our_mounts(pid: int | None) -> bool:
    """Whether the engine sees a file system that we mount."""
    try:
        return pid is not None and os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return False


def open_files_limit(pid: int | None) -> int:
    """The most open files a container can be given: without CAP_SYS_RESOURCE the engine cannot exceed its own limit,
    and a start that asks for more fails."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
    except OSError:
        return MAX_OPEN_FILES
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    hard = re.search(r"^Max open files\s+\S+\s+(\d+)", limits, re.MULTILINE)
    if capabilities is None or hard is None or int(capabilities[1], 16) & _CAP_SYS_RESOURCE:
        return MAX_OPEN_FILES
    return min(MAX_OPEN_FILES, int(hard[1]))
