"""Turn a :class:`ContainerSpec` into the engine's create request: the hardened profile, line by line.

Pure: no engine, no clock, no files but the seccomp profile shipped beside this module. Every line was tried against
escape attempts; see ``tests/integration/test_docker_escape.py``. Nothing here may depend on what the *job* asks for
beyond the fields of the spec, and no field of the spec may switch a protection off.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import Struct

from market.errors import InvalidRequest
from runtime.image_policy import refused_in_job
from runtime.ports import ContainerSpec

JOB_UID = 65534
WORK_DIR = "/work"
MAX_PROCESSES = 4096
TMP_MIB = 1024
LOG_FILE_MIB = 128
"""The engine keeps two such files of a job's output, for when nobody is there to copy it. Its entries take about 36
bytes more than what was printed, so a log as long as we copy (64 MiB) is in them whole unless its lines are tiny."""

LABEL_NODE = "cfab.node"
LABEL_LEASE = "cfab.lease"
LABEL_FENCING = "cfab.fencing"
LABEL_PLAN = "cfab.plan"
LABEL_STOP_AFTER = "cfab.stop_after_ms"
LABEL_DISK = "cfab.disk_mib"

_LEASE_ID = re.compile(r"[0-9a-f]{8,64}")
MIB = 1024 * 1024


class HostFacts(Struct, frozen=True, kw_only=True):
    """What the plan must know of the machine."""

    cpus: int
    cgroup_driver: str = "cgroupfs"
    runtimes: tuple[str, ...] = ("runc",)
    max_open_files: int = 65536


class WorkMount(Struct, frozen=True, kw_only=True):
    """Where ``/work`` comes from: a directory (``bind``) or an engine's volume (``volume``)."""

    kind: str
    source: str


def container_name(lease_id: str) -> str:
    """One name per lease, so that a second create of the same lease meets the first instead of doubling it."""
    return f"cfab-{checked_lease_id(lease_id)}"


def checked_lease_id(lease_id: str) -> str:
    """Lease ids become file, cgroup and container names: only hex passes.

    Raises:
        InvalidRequest: anything else.
    """
    if not _LEASE_ID.fullmatch(lease_id):
        raise InvalidRequest("a lease id is 8 to 64 lower-case hex digits", code="bad_lease_id")
    return lease_id


def cgroup_parent(lease_id: str, driver: str) -> str:
    """The lease's own cgroup, above the container's: its totals survive the container."""
    name = f"cfab-lease-{checked_lease_id(lease_id)}"
    return f"{name.replace('-', '_')}.slice" if driver == "systemd" else f"/{name}"


def check_spec(spec: ContainerSpec, host: HostFacts) -> None:
    """Refuse what cannot or must not be run, before anything is made.

    Raises:
        InvalidRequest: naming the field in ``where``.
    """
    checked_lease_id(spec.lease_id)
    if spec.network != "none":
        raise _bad("network", f"network {spec.network!r} is not offered", "use network: none")
    if spec.runtime and spec.runtime not in host.runtimes:
        raise _bad("runtime", f"no runtime {spec.runtime!r} here", f"one of {', '.join(host.runtimes)}")
    for field, least in (("cpu_milli", 10), ("memory_mib", 16), ("disk_mib", 1), ("shm_mib", 1), ("stop_after_ms", 1)):
        if getattr(spec, field) < least:
            raise _bad(field, f"{field} must be at least {least}")
    if spec.cpu_milli > host.cpus * 1000:
        raise _bad("cpu_milli", f"this machine has {host.cpus} CPUs", f"at most {host.cpus * 1000}")
    if reason := refused_in_job(spec.env):
        raise _bad("env", reason)


def plan_container(spec: ContainerSpec, *, image_id: str, work: WorkMount, host: HostFacts) -> dict[str, Any]:
    """The body of the engine's create request.

    ``image_id`` must be immutable (an id the engine resolved), so that a moved tag cannot change what runs.

    Raises:
        InvalidRequest: see :func:`check_spec`.
    """
    check_spec(spec, host)
    payload: dict[str, Any] = {
        "Image": image_id,
        "Env": _environment(spec),
        "User": f"{JOB_UID}:{JOB_UID}",
        "WorkingDir": WORK_DIR,
        "NetworkDisabled": True,
        "HostConfig": _host_config(spec, work=work, host=host),
        "Labels": {
            LABEL_NODE: spec.node_id,
            LABEL_LEASE: spec.lease_id,
            LABEL_FENCING: str(spec.fencing),
            LABEL_STOP_AFTER: str(spec.stop_after_ms),
            LABEL_DISK: str(spec.disk_mib),
        },
    }
    if spec.command:
        payload["Cmd"] = list(spec.command)
    payload["Labels"][LABEL_PLAN] = _digest(payload)
    return payload


def _host_config(spec: ContainerSpec, *, work: WorkMount, host: HostFacts) -> dict[str, Any]:
    memory = spec.memory_mib * MIB
    config: dict[str, Any] = {
        **_isolation(spec),
        "CgroupParent": cgroup_parent(spec.lease_id, host.cgroup_driver),
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": spec.cpu_milli * 1_000_000,
        "PidsLimit": MAX_PROCESSES,
        "OomScoreAdj": 500,
        "Ulimits": [
            {"Name": "nofile", "Soft": host.max_open_files, "Hard": host.max_open_files},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        # Both count against the memory limit; /tmp without "exec" would break just-in-time compilers.
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,size={min(TMP_MIB, spec.memory_mib)}m,nr_inodes=100000"},
        "ShmSize": spec.shm_mib * MIB,
        "Mounts": [{"Type": work.kind, "Source": work.source, "Target": WORK_DIR, "ReadOnly": False}],
        "LogConfig": {"Type": "local", "Config": {"max-size": f"{LOG_FILE_MIB}m", "max-file": "2"}},
        "RestartPolicy": {"Name": "no"},
    }
    if spec.runtime:
        config["Runtime"] = spec.runtime
    if spec.gpu_uuids:
        config["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(spec.gpu_uuids), "Capabilities": [["gpu"]]}]
    return config


def _isolation(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "NetworkMode": spec.network,
        "IpcMode": "private",
        "Privileged": False,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
        # A PID 1 that asks to be traced outlives "rm -f"; an init above the job, and no ptrace, both prevent it.
        "Init": True,
    }


def _environment(spec: ContainerSpec) -> list[str]:
    ours = {
        "HOME": WORK_DIR,
        # "void" tells NVIDIA's hook to stay out even where its runtime is the engine's default.
        "NVIDIA_VISIBLE_DEVICES": ",".join(spec.gpu_uuids) or "void",
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
        "CFAB_LEASE_ID": spec.lease_id,
    }
    return [f"{key}={value}" for key, value in sorted({**spec.env, **ours}.items())]


@cache
def seccomp_profile() -> str:
    """The allow-list of system calls as the engine wants it: one line of JSON."""
    text = (files("runtime") / "seccomp.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text), separators=(",", ":"))


def _digest(payload: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(payload, sort_keys=True).encode(), digest_size=16).hexdigest()


def _bad(field: str, message: str, fix: str = "") -> InvalidRequest:
    return InvalidRequest(message, code="bad_container_spec", fix=fix, where=field)
