"""The profile, word for word: a change of any line must be a change of this file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from market.errors import InvalidRequest
from runtime.container_plan import (
    HostFacts,
    WorkMount,
    cgroup_parent,
    container_name,
    plan_container,
    seccomp_profile,
)
from runtime.ports import ContainerSpec

LEASE = "0123456789abcdef0123456789abcdef"
HOST = HostFacts(cpus=8, runtimes=("runc", "runsc"))
WORK = WorkMount(kind="bind", source="/state/volumes/" + LEASE)


def spec(**changes: Any) -> ContainerSpec:
    values: dict[str, Any] = {
        "lease_id": LEASE,
        "node_id": "node-a",
        "fencing": 7,
        "image": "python@sha256:" + "1" * 64,
        "command": ("python3", "-c", "print(1)"),
        "env": {"GREETING": "hello"},
        "cpu_milli": 1500,
        "memory_mib": 2048,
        "disk_mib": 4096,
        "shm_mib": 256,
        "stop_after_ms": 60_000,
    }
    return ContainerSpec(**{**values, **changes})


def plan(**changes: Any) -> dict[str, Any]:
    return plan_container(spec(**changes), image_id="sha256:" + "2" * 64, work=WORK, host=HOST)


def test_the_whole_profile() -> None:
    assert plan() == {
        "Image": "sha256:" + "2" * 64,
        "Cmd": ["python3", "-c", "print(1)"],
        "Env": [
            f"CFAB_LEASE_ID={LEASE}",
            "GREETING=hello",
            "HOME=/work",
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
            "NVIDIA_VISIBLE_DEVICES=void",
        ],
        "User": "65534:65534",
        "WorkingDir": "/work",
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "IpcMode": "private",
            "Privileged": False,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", f"seccomp={seccomp_profile()}"],
            "Init": True,
            "CgroupParent": f"/cfab-lease-{LEASE}",
            "Memory": 2048 * 1024 * 1024,
            "MemorySwap": 2048 * 1024 * 1024,
            "NanoCpus": 1_500_000_000,
            "PidsLimit": 4096,
            "OomScoreAdj": 500,
            "Ulimits": [
                {"Name": "nofile", "Soft": 65536, "Hard": 65536},
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,size=1024m,nr_inodes=100000"},
            "ShmSize": 256 * 1024 * 1024,
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": f"/state/volumes/{LEASE}",
                    "Target": "/work",
                    "ReadOnly": False,
                }
            ],
            "LogConfig": {"Type": "local", "Config": {"max-size": "128m", "max-file": "2"}},
            "RestartPolicy": {"Name": "no"},
        },
        "Labels": {
            "cfab.node": "node-a",
            "cfab.lease": LEASE,
            "cfab.fencing": "7",
            "cfab.stop_after_ms": "60000",
            "cfab.disk_mib": "4096",
            "cfab.plan": plan()["Labels"]["cfab.plan"],
        },
    }


def test_only_the_granted_gpus_are_asked_for() -> None:
    payload = plan(gpu_uuids=("GPU-1", "GPU-2"), runtime="runsc")
    assert payload["HostConfig"]["DeviceRequests"] == [
        {"Driver": "nvidia", "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}
    ]
    assert payload["HostConfig"]["Runtime"] == "runsc"
    assert "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2" in payload["Env"]


def test_a_job_cannot_overwrite_our_variables() -> None:
    assert "HOME=/work" in plan(env={"HOME": "/root", "CFAB_LEASE_ID": "x"})["Env"]
    assert f"CFAB_LEASE_ID={LEASE}" in plan(env={"CFAB_LEASE_ID": "x"})["Env"]


def test_without_a_command_the_image_decides() -> None:
    assert "Cmd" not in plan(command=())


def test_the_plan_label_changes_with_the_plan() -> None:
    assert plan()["Labels"]["cfab.plan"] == plan()["Labels"]["cfab.plan"]
    assert plan()["Labels"]["cfab.plan"] != plan(memory_mib=4096)["Labels"]["cfab.plan"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"network": "internet"}, "network"),
        ({"network": "host"}, "network"),
        ({"runtime": "kata"}, "runtime"),
        ({"cpu_milli": 8001}, "cpu_milli"),
        ({"cpu_milli": 0}, "cpu_milli"),
        ({"memory_mib": 8}, "memory_mib"),
        ({"disk_mib": 0}, "disk_mib"),
        ({"stop_after_ms": 0}, "stop_after_ms"),
        ({"env": {"LD_PRELOAD": "/work/in/evil.so"}}, "env"),
        ({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "env"),
    ],
)
def test_what_must_not_run_is_refused(change: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        plan(**change)
    assert refused.value.where == where


@pytest.mark.parametrize("lease_id", ["", "../../etc", "ABCDEF0123456789", "0123", "a" * 65, "0123456789abcdef/x"])
def test_a_lease_id_is_hex_or_nothing(lease_id: str) -> None:
    with pytest.raises(InvalidRequest):
        container_name(lease_id)
    with pytest.raises(InvalidRequest):
        cgroup_parent(lease_id, "cgroupfs")


def test_the_cgroup_is_a_slice_under_systemd() -> None:
    # A dash in a slice's name would nest it below others.
    assert cgroup_parent(LEASE, "systemd") == f"cfab_lease_{LEASE}.slice"


def test_the_seccomp_profile_denies_what_made_ghosts_and_escapes() -> None:
    profile = json.loads(seccomp_profile())
    allowed = {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert not allowed & {"ptrace", "mount", "unshare", "setns", "bpf", "io_uring_setup", "keyctl", "init_module"}
    always = {
        n for r in profile["syscalls"] if r["action"] == "SCMP_ACT_ALLOW" and not r.get("args") for n in r["names"]
    }
    assert not always & {"clone", "socket", "personality"}
