"""Meter texts as kernels of both versions write them."""

from __future__ import annotations

from runtime.meter import find_mounts, highest, read_v1, read_v2
from runtime.ports import Usage

V1 = """\
25 30 0:23 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro
26 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
27 25 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
V2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_separate_trees_are_version_1_even_beside_a_unified_one() -> None:
    mounts = find_mounts(V1)
    assert mounts is not None
    assert (mounts.version, mounts.cpu, mounts.memory) == (
        1,
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/memory",
    )
    assert mounts.trees == ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified")


def test_one_unified_tree_is_version_2() -> None:
    mounts = find_mounts(V2)
    assert mounts is not None
    assert (mounts.version, mounts.trees) == (2, ("/sys/fs/cgroup",))


def test_no_tree_is_said() -> None:
    assert find_mounts("22 1 8:1 / / rw - ext4 /dev/sda1 rw\ngarbage\n") is None


def test_version_1_counts_nanoseconds_bytes_and_every_level() -> None:
    usage = read_v1(
        cpuacct_usage="7320999999\n",
        memory_max_usage="104857601\n",
        oom_controls=["oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "oom_kill 2\n"],
    )
    assert usage == Usage(cpu_ms=7320, memory_peak_mib=101, oom_kills=2)


def test_version_2_counts_microseconds() -> None:
    usage = read_v2(
        cpu_stat="usage_usec 2500999\nuser_usec 2000000\nsystem_usec 500999\n",
        memory_peak="1048576\n",
        memory_events="low 0\nhigh 0\nmax 11\noom 1\noom_kill 1\n",
    )
    assert usage == Usage(cpu_ms=2500, memory_peak_mib=1, oom_kills=1)


def test_missing_and_odd_texts_count_as_nothing() -> None:
    assert read_v2(cpu_stat="", memory_peak="max\n", memory_events="oom_kill many\n") == Usage()
    assert read_v1(cpuacct_usage="", memory_max_usage="-1", oom_controls=[]) == Usage()


def test_a_meter_never_runs_backwards() -> None:
    late, early = Usage(cpu_ms=5, memory_peak_mib=1), Usage(cpu_ms=3, memory_peak_mib=9, oom_kills=1)
    assert highest(late, early) == Usage(cpu_ms=5, memory_peak_mib=9, oom_kills=1)
