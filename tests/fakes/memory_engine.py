"""A container engine in memory, for trio's MockClock: no thread, no task, no real time.

The *world* (:class:`MemoryDocker`) owns the containers; a node only holds a handle (:class:`MemoryEngine`). A node that
crashes and comes back with a new handle finds its jobs further along, as on a real machine. What a job does is scripted
and computed from the clock when somebody looks, so nothing runs in the background.

It keeps the port's promises, including refusals, but proves nothing about isolation.
"""

from __future__ import annotations

import io
import math
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from market.errors import InvalidRequest, Unavailable
from runtime.container_plan import HostFacts, check_spec
from runtime.ports import (
    ContainerLost,
    ContainerSpec,
    ContainerState,
    EngineInfo,
    ImageFailure,
    LogChunk,
    Usage,
)

MAX_CHUNK = 65536
KILLED, TERMINATED = 137, 143


@dataclass
class JobScript:
    """What a scripted job does. Times are milliseconds of running (a pause does not count)."""

    duration_ms: float = 1_000
    exit_code: int = 0
    output: tuple[tuple[int, bytes], ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    """Path under ``/work`` → content, there from the start."""
    oom_at_ms: float = math.inf
    start_error: str = ""
    cpu_milli: int = 1_000
    memory_mib: int = 64
    ignores_sigterm: bool = False


@dataclass
class _End:
    at_ms: float
    exit_code: int
    oom: bool = False
    time_limit: bool = False


@dataclass
class _Container:
    spec: ContainerSpec
    script: JobScript
    files: dict[str, bytes]
    phase: str = "created"
    started_at: int = 0
    born_ms: float = 0.0
    """Start on trio's clock, in milliseconds."""
    paused_at: float | None = None
    paused_ms: float = 0.0
    ordered: _End | None = None
    end: _End | None = None
    error: str = ""
    gone: bool = False
    changed: trio.Event = field(default_factory=trio.Event)

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    def ran_ms(self, now: float) -> float:
        """Time it really ran until ``now`` or its end."""
        if self.phase == "created":
            return 0.0
        until = min(now, self.end.at_ms) if self.end else now
        if self.paused_at is not None:
            until = min(until, self.paused_at)
        return max(0.0, until - self.born_ms - self.paused_ms)

    def next_end(self) -> _End:
        """The earliest of what can end it: itself, memory, the time limit, a stop that was ordered."""
        limit = _End(self.born_ms + self.spec.stop_after_ms, KILLED, time_limit=True)
        ends = [limit] + ([self.ordered] if self.ordered else [])
        if self.paused_at is None:
            shift = self.born_ms + self.paused_ms
            ends.append(_End(shift + self.script.duration_ms, self.script.exit_code))
            ends.append(_End(shift + self.script.oom_at_ms, KILLED, oom=True))
        return min(ends, key=lambda end: end.at_ms)

    def refresh(self, now: float) -> None:
        if self.phase == "running" and (end := self.next_end()).at_ms <= now:
            self.phase, self.end = "exited", end
            self.notify()

    def state(self) -> ContainerState:
        end = self.end
        return ContainerState(
            lease_id=self.spec.lease_id,
            fencing=self.spec.fencing,
            phase=self.phase,
            started_at=self.started_at,
            finished_at=self.started_at + round(end.at_ms - self.born_ms) if end else 0,
            exit_code=end.exit_code if end else -1,
            oom_killed=bool(end and end.oom),
            hit_time_limit=bool(end and end.time_limit),
            error=self.error,
        )


class MemoryDocker:
    """The machine's engine: images, containers, and knobs for faults. Shared by the nodes of one machine."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        *,
        script: Callable[[ContainerSpec], JobScript] = lambda spec: JobScript(),
        host: HostFacts | None = None,
    ) -> None:
        self.now_ms = now_ms
        self.script = script
        self.host = host or HostFacts(cpus=64)
        self.images: dict[str, str] = {"sha256:" + "1" * 64: "cfab-job-base:local"}
        self.registry: dict[str, str] = {}
        """Reference by digest → id, for images that can be pulled."""
        self.containers: dict[str, _Container] = {}
        self.refuse_starts = ""
        """When set, every start fails with this text."""
        self.down = False

    def go_down(self) -> None:
        """The engine stops answering: calls and waits of every node end in ``Unavailable``. Jobs run on."""
        self.down = True
        for container in self.containers.values():
            container.notify()

    def come_back(self) -> None:
        self.down = False

    def lose(self, lease_id: str) -> None:
        """Somebody removes the container behind the node's back."""
        self.containers[lease_id].gone = True
        self.containers[lease_id].notify()


class MemoryEngine:
    """One node's view of a :class:`MemoryDocker`; implements ``ContainerEngine``."""

    def __init__(self, world: MemoryDocker, node_id: str) -> None:
        self._world = world
        self._node_id = node_id

    async def info(self) -> EngineInfo:
        await self._answer()
        return EngineInfo(
            version="memory",
            runtimes=self._world.host.runtimes,
            cgroup_version=2,
            rootless=False,
            storage_driver="memory",
            nvidia=False,
        )

    async def images(self) -> dict[str, str]:
        await self._answer()
        return dict(self._world.images)

    async def ensure_image(self, reference: str) -> str:
        await self._answer()
        images = self._world.images
        for image_id, name in images.items():
            if reference in (image_id, name):
                return image_id
        if reference in self._world.registry:
            images[self._world.registry[reference]] = reference
            return self._world.registry[reference]
        raise ImageFailure(f"no image {reference!r} here, and it cannot be pulled")

    async def ensure_created(self, spec: ContainerSpec) -> None:
        await self._answer()
        check_spec(spec, self._world.host)
        known = self._world.containers.get(spec.lease_id)
        if known is not None and not (known.gone and known.phase == "created"):
            if known.gone:
                raise ContainerLost(spec.lease_id)
            return
        script = self._world.script(spec)
        self._world.containers[spec.lease_id] = _Container(spec, script, dict(script.files))

    async def put_files(self, lease_id: str, target: str, tar_path: str) -> None:
        await self._answer()
        container = self._find(lease_id)
        if container.phase != "created":
            raise InvalidRequest("inputs go in before the start", code="already_started")
        top = _below_work(target)
        with tarfile.open(tar_path) as archive:
            for member in archive.getmembers():
                if member.isfile() and (source := archive.extractfile(member)):
                    container.files[f"{top}/{member.name}".strip("/")] = source.read()

    async def ensure_started(self, lease_id: str) -> ContainerState:
        await self._answer()
        container = self._find(lease_id)
        if container.phase == "created":
            container.started_at, container.born_ms = self._world.now_ms(), _now()
            container.phase = "running"
            container.error = self._world.refuse_starts or container.script.start_error
            if container.error:
                container.phase, container.end = "exited", _End(_now(), 128)
            container.notify()
        return self._look(container)

    async def state(self, lease_id: str) -> ContainerState | None:
        await self._answer()
        container = self._world.containers.get(lease_id)
        return None if container is None or container.gone else self._look(container)

    async def wait_exit(self, lease_id: str) -> ContainerState:
        while True:
            await self._answer()
            container = self._find(lease_id)
            if self._look(container).phase == "exited":
                return container.state()
            await self._wait(container, container.next_end().at_ms if container.phase == "running" else math.inf)

    async def usage(self, lease_id: str) -> Usage:
        await self._answer()
        container = self._world.containers.get(lease_id)
        if container is None or not container.started_at:
            return Usage()
        container.refresh(_now())
        cpu = container.ran_ms(_now()) * min(container.script.cpu_milli, container.spec.cpu_milli) / 1000
        return Usage(
            cpu_ms=int(cpu),
            memory_peak_mib=min(container.script.memory_mib, container.spec.memory_mib),
            oom_kills=int(container.state().oom_killed),
        )

    async def ensure_paused(self, lease_id: str) -> None:
        await self._answer()
        container = self._find(lease_id)
        if self._look(container).phase == "running" and container.paused_at is None:
            container.paused_at = _now()
            container.notify()

    async def ensure_resumed(self, lease_id: str) -> None:
        await self._answer()
        container = self._find(lease_id)
        if self._look(container).phase == "running" and container.paused_at is not None:
            container.paused_ms += _now() - container.paused_at
            container.paused_at = None
            container.notify()

    async def ensure_stopped(self, lease_id: str, *, grace_ms: int) -> ContainerState | None:
        await self._answer()
        container = self._world.containers.get(lease_id)
        if container is None or container.gone:
            return None
        if self._look(container).phase != "running":
            return container.state()
        obeys = not container.script.ignores_sigterm
        container.ordered = _End(_now() + (0 if obeys else grace_ms), TERMINATED if obeys else KILLED)
        container.notify()
        return await self.wait_exit(lease_id)

    async def ensure_removed(self, lease_id: str) -> None:
        await self._answer()
        container = self._world.containers.get(lease_id)
        if container is None or container.gone:
            return
        if self._look(container).phase == "running":
            container.phase, container.end = "exited", _End(_now(), KILLED)
        container.gone = True
        container.notify()

    async def leases(self) -> list[ContainerState]:
        await self._answer()
        return [
            self._look(container)
            for container in self._world.containers.values()
            if not container.gone and container.spec.node_id == self._node_id
        ]

    @asynccontextmanager
    async def follow_logs(self, lease_id: str, offset: int) -> AsyncIterator[AsyncIterator[LogChunk]]:
        await self._answer()
        yield _Follower(self, self._world.containers.get(lease_id), offset)

    async def fetch_files(self, lease_id: str, path: str, tar_path: str, *, max_bytes: int) -> int:
        await self._answer()
        wanted = _below_work(path)
        files = self._find(lease_id).files
        found = {n: d for n, d in files.items() if n == wanted or n.startswith(f"{wanted}/") or not wanted}
        if not found:
            raise FileNotFoundError(path)
        top = Path(path).name
        with io.BytesIO() as buffer:
            with tarfile.open(fileobj=buffer, mode="w") as archive:
                for name, data in sorted(found.items()):
                    member = tarfile.TarInfo(f"{top}/{name.removeprefix(wanted).strip('/')}".rstrip("/"))
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
            if buffer.tell() > max_bytes:
                raise InvalidRequest(f"{path} is larger than {max_bytes} bytes", code="output_too_large")
            Path(tar_path).write_bytes(buffer.getvalue())  # noqa: ASYNC240 - a thread would break MockClock
            return buffer.tell()

    async def _answer(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._world.down:
            raise Unavailable("the container engine does not answer", code="engine_down")

    def _find(self, lease_id: str) -> _Container:
        container = self._world.containers.get(lease_id)
        if container is None or container.gone:
            raise ContainerLost(lease_id)
        return container

    def _look(self, container: _Container) -> ContainerState:
        container.refresh(_now())
        return container.state()

    async def _wait(self, container: _Container, until_ms: float) -> None:
        """Until something changes or the clock reaches ``until_ms``."""
        # A microsecond more: in floating point the moment itself may still count as just before it, for ever.
        with trio.move_on_at(until_ms / 1000 + 1e-6):
            await container.changed.wait()


class _Follower:
    """Iterates a job's output from an offset until it has exited and all was given."""

    def __init__(self, engine: MemoryEngine, container: _Container | None, offset: int) -> None:
        self._engine, self._container, self._offset = engine, container, offset

    def __aiter__(self) -> _Follower:
        return self

    async def __anext__(self) -> LogChunk:
        container = self._container
        if container is None:
            raise StopAsyncIteration
        while True:
            await self._engine._answer()
            container.refresh(_now())
            ran = container.ran_ms(_now())
            written = b"".join(data for at, data in container.script.output if at <= ran and container.started_at)
            if data := written[self._offset : self._offset + MAX_CHUNK]:
                chunk = LogChunk(self._offset, data)
                self._offset += len(data)
                return chunk
            if container.phase == "exited" or container.gone:
                raise StopAsyncIteration
            await self._engine._wait(container, self._next_ms(container, ran))

    def _next_ms(self, container: _Container, ran: float) -> float:
        if container.phase != "running":
            return math.inf
        ahead = [at for at, _ in container.script.output if at > ran]
        line = math.inf
        if ahead and container.paused_at is None:
            line = container.born_ms + container.paused_ms + min(ahead)
        return min(line, container.next_end().at_ms)


def _now() -> float:
    return trio.current_time() * 1000


def _below_work(path: str) -> str:
    if (path != "/work" and not path.startswith("/work/")) or ".." in path.split("/"):
        raise InvalidRequest(f"{path} is not below /work", code="bad_path")
    return path.removeprefix("/work").strip("/")
