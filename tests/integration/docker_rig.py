"""What tests on a real Docker Engine share: jobs described once, specs, an engine that cleans up after itself.

A test that needs Docker and finds none fails with the adapter's own sentence; it never passes by being skipped.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from runtime.cgroup_files import LeaseCgroups, find_cgroups
from runtime.docker_engine import DockerEngine, open_docker_engine
from runtime.job_image import ensure_job_image
from runtime.ports import ContainerSpec

IMAGE = "cfab-job-base:local"


@dataclass
class Job:
    """A job both engines can run: the real one as a Python program, the fake as a script."""

    output: bytes = b""
    repeat: int = 1
    run_ms: int = 0
    exit_code: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    eats_memory: bool = False
    ignores_sigterm: bool = False

    def program(self) -> str:
        lines = ["import os, signal, sys, time"]
        if self.ignores_sigterm:
            lines.append("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
        lines += [f"sys.stdout.buffer.write({self.output!r} * {self.repeat})", "sys.stdout.flush()"]
        for name, data in self.files.items():
            lines.append(f"os.makedirs(os.path.dirname('/work/{name}'), exist_ok=True)")
            lines.append(f"open('/work/{name}', 'wb').write({data!r})")
        if self.eats_memory:
            lines += ["hold = []", "while True: hold.append(bytearray(1 << 20))"]
        lines += [f"time.sleep({self.run_ms / 1000})", f"sys.exit({self.exit_code})"]
        return "\n".join(lines)


def new_lease_id() -> str:
    return secrets.token_hex(16)


def make_spec(node_id: str, program: str = "", **changes: Any) -> ContainerSpec:
    """A small job: one CPU, 128 MiB of memory, 32 MiB of disk, a minute at most."""
    values: dict[str, Any] = {
        "lease_id": new_lease_id(),
        "node_id": node_id,
        "fencing": 1,
        "image": IMAGE,
        "command": ("python3", "-u", "-c", program),
        "env": {},
        "cpu_milli": 1000,
        "memory_mib": 128,
        "disk_mib": 32,
        "shm_mib": 16,
        "stop_after_ms": 60_000,
    }
    return ContainerSpec(**{**values, **changes})


class DockerRig:
    """One node's identity and state directory. :meth:`open` may be entered again, as after a restart."""

    def __init__(self, state_dir: Path, **options: Any) -> None:
        self.node_id = f"test-{secrets.token_hex(4)}"
        self.state_dir = state_dir
        self._options = options

    @asynccontextmanager
    async def open(self) -> AsyncIterator[DockerEngine]:
        async with open_docker_engine(node_id=self.node_id, state_dir=self.state_dir, **self._options) as engine:
            yield engine

    def spec(self, program: str = "", **changes: Any) -> ContainerSpec:
        return make_spec(self.node_id, program, **changes)

    async def cgroups(self) -> LeaseCgroups:
        """The leases' control groups, found without the engine under test."""
        done = await trio.run_process(["docker", "info", "--format", "{{.CgroupDriver}}"], capture_stdout=True)
        return find_cgroups(done.stdout.decode().strip())

    async def clean_up(self) -> None:
        """Remove every container, volume and control group of this node."""
        with trio.CancelScope(shield=True):
            async with self.open() as engine:
                known = {path.name for path in self.state_dir.glob("leases/*")}
                for lease_id in known | {state.lease_id for state in await engine.leases()}:
                    await engine.ensure_removed(lease_id)


@asynccontextmanager
async def docker_rig(state_dir: Path, **options: Any) -> AsyncIterator[DockerRig]:
    """A rig whose containers are gone when the block is left."""
    await ensure_job_image(IMAGE)
    rig = DockerRig(state_dir, **options)
    try:
        yield rig
    finally:
        await rig.clean_up()


async def run_to_end(engine: DockerEngine, spec: ContainerSpec) -> bytes:
    """Create, start, wait; returns the whole output."""
    await engine.ensure_created(spec)
    await engine.ensure_started(spec.lease_id)
    await engine.wait_exit(spec.lease_id)
    return await read_log(engine, spec.lease_id)


async def read_log(engine: DockerEngine, lease_id: str, offset: int = 0) -> bytes:
    """The output from ``offset`` to the end of the job."""
    pieces = []
    async with engine.follow_logs(lease_id, offset) as chunks:
        async for chunk in chunks:
            assert chunk.offset == offset
            pieces.append(chunk.data)
            offset += len(chunk.data)
    return b"".join(pieces)
