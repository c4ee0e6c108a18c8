"""What a node keeps on disk about each lease's container: its log, its last meter reading, three marks.

The marks must outlive a killed node, so each is a file: ``started`` (never start twice), ``removed`` (over; kept for
the log's sake) and ``time_limit`` (the watchdog ended it). Nothing here is money; the journal holds that.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from runtime.container_plan import checked_lease_id
from runtime.ports import Usage


class LeaseFiles:
    """The directory of one lease."""

    def __init__(self, leases_dir: Path, lease_id: str) -> None:
        self.directory = leases_dir / checked_lease_id(lease_id)

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def watchdog_lock(self) -> Path:
        return self.directory / "watchdog.lock"

    def make(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def mark(self, name: str) -> None:
        self.make()
        (self.directory / name).touch()

    def marked(self, name: str) -> bool:
        return (self.directory / name).exists()

    def unmark(self, name: str) -> None:
        (self.directory / name).unlink(missing_ok=True)

    def save_usage(self, usage: Usage) -> None:
        self.make()
        values = [usage.cpu_ms, usage.memory_peak_mib, usage.oom_kills]
        fresh = self.directory / "usage.new"
        fresh.write_text(json.dumps(values), encoding="ascii")
        os.replace(fresh, self.directory / "usage")

    def load_usage(self) -> Usage:
        """The last reading that was saved; zeros when there is none."""
        with suppress(OSError, ValueError):
            cpu, memory, kills = json.loads((self.directory / "usage").read_text(encoding="ascii"))
            return Usage(cpu_ms=int(cpu), memory_peak_mib=int(memory), oom_kills=int(kills))
        return Usage()


def sweep(leases_dir: Path, *, older_than_ms: int) -> list[str]:
    """Delete what is kept of leases removed before ``older_than_ms`` (UTC); returns their ids."""
    swept = []
    for mark in leases_dir.glob("*/removed"):
        if mark.stat().st_mtime * 1000 < older_than_ms:
            shutil.rmtree(mark.parent, ignore_errors=True)
            swept.append(mark.parent.name)
    return swept
