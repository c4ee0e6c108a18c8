"""The control groups of leases on this machine: read their meters, list and end their processes, remove them.

A lease's processes are exactly those in its cgroup, whatever the engine believes: engines have reported a container
gone while its children ran on. This module never touches a group whose name does not carry the lease's id.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from market.errors import Unavailable
from runtime.container_plan import cgroup_parent
from runtime.meter import CgroupMounts, find_mounts, read_v1, read_v2
from runtime.ports import Usage


class LeaseCgroups:
    """Control groups of leases, in whichever version the kernel has mounted."""

    def __init__(self, mounts: CgroupMounts, driver: str) -> None:
        self._mounts = mounts
        self._driver = driver

    @property
    def version(self) -> int:
        return self._mounts.version

    def read(self, lease_id: str) -> Usage | None:
        """The meter as it stands; None when the lease has no group (never started, or already removed)."""
        cpu, memory = self._within(self._mounts.cpu, lease_id), self._within(self._mounts.memory, lease_id)
        if not memory.is_dir():
            return None
        if self._mounts.version == 1:
            levels = [memory, *_subgroups(memory)]
            return read_v1(
                cpuacct_usage=_text(cpu / "cpuacct.usage"),
                memory_max_usage=_text(memory / "memory.max_usage_in_bytes"),
                oom_controls=[_text(level / "memory.oom_control") for level in levels],
            )
        peak = _text(memory / "memory.peak") or _text(memory / "memory.current")
        return read_v2(
            cpu_stat=_text(cpu / "cpu.stat"), memory_peak=peak, memory_events=_text(memory / "memory.events")
        )

    def processes(self, lease_id: str) -> list[int]:
        """Process ids in the lease's group and below. Empty means: this job is gone."""
        top = self._within(self._mounts.memory, lease_id)
        if not top.is_dir():
            return []
        texts = [_text(level / "cgroup.procs") for level in (top, *_subgroups(top))]
        return sorted({int(word) for text in texts for word in text.split()})

    def kill(self, lease_id: str) -> None:
        """SIGKILL every process of the lease; those of other users are left when we are not root."""
        whole = self._within(self._mounts.memory, lease_id) / "cgroup.kill"
        if whole.exists():
            with suppress(OSError):
                whole.write_text("1")
                return
        for pid in self.processes(lease_id):
            self._kill_one(pid, lease_id)

    def _kill_one(self, pid: int, lease_id: str) -> None:
        with suppress(ProcessLookupError, PermissionError):
            handle = os.pidfd_open(pid)
            try:
                # The number may have passed to a stranger's process since it was listed; the handle may not.
                if lease_id in _text(Path(f"/proc/{pid}/cgroup")):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)

    def remove(self, lease_id: str) -> None:
        """Remove the lease's groups in every tree. A group that still holds a process stays."""
        for tree in self._mounts.trees:
            top = self._within(tree, lease_id)
            for group in [*reversed(_subgroups(top)), top]:
                with suppress(OSError):
                    group.rmdir()

    def _within(self, tree: str, lease_id: str) -> Path:
        return Path(tree) / cgroup_parent(lease_id, self._driver).lstrip("/")


def find_cgroups(driver: str) -> LeaseCgroups:
    """The control groups of this machine.

    Raises:
        Unavailable: none are mounted here, so nothing could be metered honestly.
    """
    mounts = find_mounts(_text(Path("/proc/self/mountinfo")))
    if mounts is None:
        raise Unavailable(
            "no control groups are mounted on this machine, so jobs cannot be metered",
            code="no_cgroups",
            fix="run the node on the machine of its container engine, outside a container",
        )
    return LeaseCgroups(mounts, driver)


def _subgroups(top: Path) -> list[Path]:
    """Groups below ``top``, outer ones first."""
    return [Path(where) / name for where, names, _ in os.walk(top) for name in names]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
