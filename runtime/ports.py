"""What the runtime asks of the machine: a container engine and a GPU probe.

Real adapters: ``docker_engine.py``, ``nvidia_probe.py``. Fakes live in ``tests/fakes``; one suite in ``tests/ports``
runs on both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from market.records import ExitReason


class Gpu(Struct, frozen=True, kw_only=True):
    """One GPU as found on this machine."""

    index: int
    uuid: str
    model: str
    vram_mib: int
    driver: str
    cuda_milli: int
    simulated: bool = False


class GpuProbe(Protocol):
    """Finds the GPUs of this machine. Never raises: a machine without a driver has none."""

    def gpus(self) -> list[Gpu]: ...


class ContainerSpec(Struct, frozen=True, kw_only=True):
    """What to run and within which bounds, before it becomes an engine's own dialect (``container_plan.py``)."""

    lease_id: str
    node_id: str
    fencing: int
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    cpu_milli: int
    memory_mib: int
    disk_mib: int
    shm_mib: int
    network: str = "none"
    runtime: str = ""
    gpu_uuids: tuple[str, ...] = ()
    stop_after_ms: int
    """Hard stop: the engine ends the job after this many milliseconds even when the node is gone."""


class ContainerState(Struct, frozen=True, kw_only=True):
    """A lease's container as the engine and its cgroup report it.

    ``phase`` is ``created``, ``running`` or ``exited``. Times are UTC milliseconds by the engine, 0 when not yet.
    ``wall_ms`` is how long it has run so far; it no longer grows after exit.
    """

    lease_id: str
    fencing: int
    phase: str
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = -1
    oom_killed: bool = False
    hit_time_limit: bool = False
    error: str = ""


class Usage(Struct, frozen=True, kw_only=True):
    """Cumulative meter reading of a lease's cgroup. Survives exit, removal and a dead node."""

    cpu_ms: int = 0
    memory_peak_mib: int = 0
    oom_kills: int = 0


class LogChunk(Struct, frozen=True):
    """A piece of a job's output. ``offset`` is the byte position of ``data`` in the whole log of that job."""

    offset: int
    data: bytes


class EngineInfo(Struct, frozen=True, kw_only=True):
    """What answers on the engine's socket."""

    version: str
    runtimes: tuple[str, ...]
    cgroup_version: int
    rootless: bool
    storage_driver: str
    nvidia: bool


class ImageFailure(Exception):
    """The image cannot be had or must not be run. ``reason`` says it in one sentence for the job's owner."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ContainerLost(Exception):
    """The lease's container was started once and is no longer there (removed by hand, engine reset). It is never
    run a second time: a job that half ran twice may have spent or sent something twice."""

    def __init__(self, lease_id: str) -> None:
        super().__init__(f"the container of lease {lease_id} was started and is gone")
        self.lease_id = lease_id


class ContainerEngine(Protocol):
    """Runs at most one container per lease. Every call has a time limit and raises ``market.errors.Unavailable``
    when the engine does not answer. Every call may be repeated: its meaning is "make sure that …"."""

    async def info(self) -> EngineInfo: ...
    async def images(self) -> dict[str, str]:
        """Digest or id of each image present → a name people know it by."""
        ...

    async def ensure_image(self, reference: str) -> str:
        """Make sure the image is present; returns the immutable id to run.

        Raises:
            ImageFailure: not found, refused, too large, or it sets variables that would escape the GPU toolkit.
        """
        ...

    async def ensure_created(self, spec: ContainerSpec) -> None:
        """Make sure a container of this lease exists, in any phase.

        Raises:
            ContainerLost: it was started before and has vanished.
            market.errors.InvalidRequest: the spec asks for what this engine does not give.
        """
        ...

    async def put_files(self, lease_id: str, target: str, tar_path: str) -> None:
        """Unpack a checked tar file under ``target`` inside the created, not yet started container."""
        ...

    async def ensure_started(self, lease_id: str) -> ContainerState:
        """Start it unless it already ran. A start the engine refuses gives ``phase="exited"`` with ``error``.

        Raises:
            ContainerLost: no container of this lease exists.
        """
        ...

    async def state(self, lease_id: str) -> ContainerState | None:
        """None when no container of this lease exists."""
        ...

    async def wait_exit(self, lease_id: str) -> ContainerState:
        """Wait for the end of a started container.

        Raises:
            ContainerLost: no container of this lease exists (any more).
        """
        ...

    async def usage(self, lease_id: str) -> Usage: ...
    async def ensure_paused(self, lease_id: str) -> None: ...
    async def ensure_resumed(self, lease_id: str) -> None: ...
    async def ensure_stopped(self, lease_id: str, *, grace_ms: int) -> ContainerState | None:
        """SIGTERM, ``grace_ms`` of time, then SIGKILL. Returns once no process is left in the lease's cgroup."""
        ...

    async def ensure_removed(self, lease_id: str) -> None: ...
    async def leases(self) -> list[ContainerState]:
        """Containers of this node (by label), in any phase."""
        ...

    def follow_logs(self, lease_id: str, offset: int) -> AbstractAsyncContextManager[AsyncIterator[LogChunk]]:
        """The job's output from byte ``offset`` on, until it exits. Offsets are the same after a node restart."""
        ...

    async def fetch_files(self, lease_id: str, path: str, tar_path: str, *, max_bytes: int) -> int:
        """Copy ``path`` out of the container as a checked tar file; returns its size in bytes.

        Raises:
            FileNotFoundError: nothing at that path.
            market.errors.InvalidRequest: over ``max_bytes``, or holds links out of the tree or device files.
        """
        ...


def exit_reason(state: ContainerState) -> ExitReason:
    """Name the cause of an exit. Order matters: a stop we ordered also looks like a killed program."""
    if state.hit_time_limit:
        return ExitReason.TIME_LIMIT
    if state.error:
        return ExitReason.START_FAILED
    if state.oom_killed and state.exit_code != 0:
        return ExitReason.OOM
    return ExitReason.OK if state.exit_code == 0 else ExitReason.ERROR
