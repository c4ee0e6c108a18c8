"""What is kept of a lease on disk, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from market.errors import InvalidRequest
from runtime.lease_files import LeaseFiles, sweep
from runtime.ports import Usage

LEASE = "0123456789abcdef"


def test_marks_outlive_the_object(tmp_path: Path) -> None:
    LeaseFiles(tmp_path, LEASE).mark("started")
    again = LeaseFiles(tmp_path, LEASE)
    assert again.marked("started")
    assert not again.marked("removed")


def test_the_last_reading_is_kept(tmp_path: Path) -> None:
    files = LeaseFiles(tmp_path, LEASE)
    assert files.load_usage() == Usage()
    files.save_usage(Usage(cpu_ms=7, memory_peak_mib=3, oom_kills=1))
    assert LeaseFiles(tmp_path, LEASE).load_usage() == Usage(cpu_ms=7, memory_peak_mib=3, oom_kills=1)
    (files.directory / "usage").write_text("[1,")
    assert files.load_usage() == Usage()


def test_others_cannot_read_it(tmp_path: Path) -> None:
    files = LeaseFiles(tmp_path, LEASE)
    files.make()
    assert files.directory.stat().st_mode & 0o777 == 0o700


def test_a_path_cannot_be_smuggled_in(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        LeaseFiles(tmp_path, "../../etc")


def test_only_old_and_removed_leases_are_swept(tmp_path: Path) -> None:
    for lease_id, removed_at in (("aaaaaaaa", 1_000), ("bbbbbbbb", 3_000), ("cccccccc", None)):
        files = LeaseFiles(tmp_path, lease_id)
        files.make()
        if removed_at is not None:
            files.mark("removed")
            os.utime(files.directory / "removed", (removed_at, removed_at))
    assert sweep(tmp_path, older_than_ms=2_000_000) == ["aaaaaaaa"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bbbbbbbb", "cccccccc"]
