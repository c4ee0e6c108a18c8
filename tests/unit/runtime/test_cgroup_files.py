"""Version 2 has no machine in every test run, so its files are laid out by hand; version 1 is in the Docker suite."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cgroup_files import LeaseCgroups
from runtime.meter import CgroupMounts
from runtime.ports import Usage

LEASE = "0123456789abcdef"


def unified(tmp_path: Path) -> LeaseCgroups:
    top = str(tmp_path)
    return LeaseCgroups(CgroupMounts(version=2, cpu=top, memory=top, trees=(top,)), "systemd")


@pytest.fixture
def group(tmp_path: Path) -> Path:
    group = tmp_path / f"cfab_lease_{LEASE}.slice"
    (group / "docker-1.scope").mkdir(parents=True)
    return group


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_the_meter_of_a_lease(tmp_path: Path, group: Path) -> None:
    (group / "cpu.stat").write_text("usage_usec 1500000\n")
    (group / "memory.peak").write_text("2097152\n")
    (group / "memory.events").write_text("oom_kill 3\n")
    assert unified(tmp_path).read(LEASE) == Usage(cpu_ms=1500, memory_peak_mib=2, oom_kills=3)


def test_a_kernel_without_a_peak_gives_the_current_size(tmp_path: Path, group: Path) -> None:
    (group / "memory.current").write_text("1048576\n")
    assert unified(tmp_path).read(LEASE) == Usage(memory_peak_mib=1)


def test_no_group_is_told_from_no_use(tmp_path: Path) -> None:
    assert unified(tmp_path).read(LEASE) is None
    assert unified(tmp_path).processes(LEASE) == []


def test_processes_are_those_of_every_level(tmp_path: Path, group: Path) -> None:
    (group / "cgroup.procs").write_text("")
    (group / "docker-1.scope" / "cgroup.procs").write_text("12\n11\n")
    assert unified(tmp_path).processes(LEASE) == [11, 12]


def test_a_process_whose_number_was_reused_is_left_alone(
    tmp_path: Path, group: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    # It stands in the list, but its own cgroup file does not name the lease.
    (group / "cgroup.procs").write_text(f"{sleeper.pid}\n")
    unified(tmp_path).kill(LEASE)
    assert sleeper.poll() is None


def test_version_2_kills_a_group_as_a_whole(tmp_path: Path, group: Path) -> None:
    (group / "cgroup.kill").write_text("")
    unified(tmp_path).kill(LEASE)
    assert (group / "cgroup.kill").read_text() == "1"


def test_removal_takes_the_levels_and_spares_others(tmp_path: Path, group: Path) -> None:
    other = tmp_path / "cfab_lease_fedcba9876543210.slice"
    other.mkdir()
    unified(tmp_path).remove(LEASE)
    assert not group.exists()
    assert other.exists()
    unified(tmp_path).remove(LEASE)
