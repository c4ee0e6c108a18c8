"""Read a lease's resource use out of cgroup file texts, versions 1 and 2. Pure: it is given the texts.

The files are those of the lease's *own* cgroup, above the container's: they keep their totals when the container
exits, when it is removed and while the node is down. The engine's statistics do none of that, and cost a second a call.
"""

from __future__ import annotations

from msgspec import Struct

from runtime.ports import Usage

MIB = 1024 * 1024


class CgroupMounts(Struct, frozen=True, kw_only=True):
    """Where the kernel shows its control groups. In version 1 each controller may have its own tree."""

    version: int
    cpu: str
    memory: str
    trees: tuple[str, ...]
    """Every tree in which a lease has a directory."""


def find_mounts(mountinfo: str) -> CgroupMounts | None:
    """Pick the trees from ``/proc/self/mountinfo``; None where no control groups are mounted.

    A machine with both versions mounted ("hybrid") meters in version 1: that is where its controllers are.
    """
    v1: dict[str, str] = {}
    trees: list[str] = []
    unified = ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if not rest:
            continue
        where = fields.split(" ")[4].replace("\\040", " ")
        kind, _, options = [*rest.split(" "), "", ""][:3]
        if kind == "cgroup2":
            unified = unified or where
        elif kind == "cgroup":
            trees.append(where)
            for option in options.split(","):
                v1.setdefault(option, where)
    if "cpuacct" in v1 and "memory" in v1:
        every = tuple(dict.fromkeys([*trees, unified] if unified else trees))
        return CgroupMounts(version=1, cpu=v1["cpuacct"], memory=v1["memory"], trees=every)
    if unified:
        return CgroupMounts(version=2, cpu=unified, memory=unified, trees=(unified,))
    return None


def read_v1(*, cpuacct_usage: str, memory_max_usage: str, oom_controls: list[str]) -> Usage:
    """``cpuacct.usage`` is nanoseconds. ``memory.oom_control`` counts only its own group, so pass every level's."""
    kills = sum(_table(text).get("oom_kill", 0) for text in oom_controls)
    return Usage(
        cpu_ms=_number(cpuacct_usage) // 1_000_000,
        memory_peak_mib=_mib(_number(memory_max_usage)),
        oom_kills=kills,
    )


def read_v2(*, cpu_stat: str, memory_peak: str, memory_events: str) -> Usage:
    """``cpu.stat`` counts microseconds. ``memory.peak`` is missing before Linux 5.19: pass ``memory.current``."""
    return Usage(
        cpu_ms=_table(cpu_stat).get("usage_usec", 0) // 1000,
        memory_peak_mib=_mib(_number(memory_peak)),
        oom_kills=_table(memory_events).get("oom_kill", 0),
    )


def highest(first: Usage, second: Usage) -> Usage:
    """The larger of each column: a cumulative meter never runs backwards, even when a file vanished between reads."""
    return Usage(
        cpu_ms=max(first.cpu_ms, second.cpu_ms),
        memory_peak_mib=max(first.memory_peak_mib, second.memory_peak_mib),
        oom_kills=max(first.oom_kills, second.oom_kills),
    )


def _mib(count: int) -> int:
    return -(-count // MIB)


def _number(text: str) -> int:
    """A lone number; "max" and an empty or missing file count as 0."""
    word = text.strip()
    return int(word) if word.isdigit() else 0


def _table(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
