"""The :class:`ContainerEngine` on a Docker Engine of this machine.

Everything that must survive a killed node is in the engine (containers, their labels), in the lease's directory
(log, marks, last meter reading) or in a process of its own (the time limit). This object holds nothing that it could
not find again, so every call means "make sure that …" and opening it anew is all that a restart needs.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import trio

from market.errors import Unavailable
from runtime.cgroup_files import LeaseCgroups, find_cgroups
from runtime.container_plan import (
    LABEL_DISK,
    LABEL_LEASE,
    LABEL_PLAN,
    LABEL_STOP_AFTER,
    HostFacts,
    WorkMount,
    check_spec,
    plan_container,
)
from runtime.docker_api import DockerApi, connect
from runtime.docker_containers import DockerContainers, Inspected
from runtime.docker_exits import DockerExits
from runtime.docker_files import DockerFiles
from runtime.docker_images import DockerImages
from runtime.docker_logs import LogCopier, LogFeed, LogIterator
from runtime.docker_state import container_state
from runtime.docker_volumes import WATCH_EVERY_S, NamedVolumes
from runtime.engine_process import engine_pid, open_files_limit, shares_our_mounts
from runtime.lease_files import LeaseFiles, sweep
from runtime.log_spool import DEFAULT_CAP
from runtime.meter import highest
from runtime.ports import ContainerLost, ContainerSpec, ContainerState, EngineInfo, LogChunk, Usage
from runtime.watchdog import TIME_LIMIT_MARK, ensure_watchdog
from runtime.work_volumes import WorkVolumes, can_make_volumes

STARTED, REMOVED, OVER_DISK, NO_PROGRAM = "started", "removed", "over_disk", "no_program"
KEEP_LOGS_MS = 7 * 86_400_000
"""How long the log and the last reading of a removed lease stay on this node's disk."""
DRAIN_TIMEOUT_S = 30.0


@asynccontextmanager
async def open_docker_engine(
    *,
    node_id: str,
    state_dir: Path,
    url: str | None = None,
    quota_volumes: bool | None = None,
    log_cap: int = DEFAULT_CAP,
) -> AsyncIterator[DockerEngine]:
    """Connect, and take up what an earlier run of this node left running.

    ``quota_volumes`` None means: where they can be made. Leaving the block stops nothing that runs. An exception that
    leaves the block arrives in a group, as from any nursery.

    Raises:
        Unavailable: no engine answers, or this machine cannot meter jobs. ``fix`` is the command to run.
        InvalidRequest: we may not use the engine, or it is not on this machine.
    """
    async with connect(url) as api:
        facts = await api.call(api.client.info)
        cgroups = find_cgroups(str(facts.get("CgroupDriver") or "cgroupfs"))
        remapped = any("name=userns" in option for option in facts.get("SecurityOptions") or [])
        # Under user remapping our uid is another one outside, and only the engine knows which.
        possible = not remapped and shares_our_mounts(engine_pid()) and can_make_volumes()
        async with trio.open_nursery() as nursery:
            engine = DockerEngine(
                api,
                facts,
                cgroups,
                nursery,
                node_id=node_id,
                state_dir=state_dir.absolute(),  # noqa: ASYNC240 - reads no disk
                quota_volumes=possible if quota_volumes is None else quota_volumes,
                log_cap=log_cap,
            )
            await engine.resume()
            yield engine
            nursery.cancel_scope.cancel()


class DockerEngine:
    """See :class:`runtime.ports.ContainerEngine` for the meaning of each call."""

    def __init__(
        self,
        api: DockerApi,
        facts: dict[str, Any],
        cgroups: LeaseCgroups,
        nursery: trio.Nursery,
        *,
        node_id: str,
        state_dir: Path,
        quota_volumes: bool,
        log_cap: int,
    ) -> None:
        self._api = api
        self._nursery = nursery
        self._log_cap = log_cap
        self._leases_dir = state_dir / "leases"
        self._host = HostFacts(
            cpus=int(facts["NCPU"]),
            cgroup_driver=str(facts.get("CgroupDriver") or "cgroupfs"),
            runtimes=tuple(facts.get("Runtimes") or ()),
            max_open_files=open_files_limit(engine_pid()),
        )
        self._cgroups = cgroups
        self._exits = DockerExits(api, node_id)
        self._containers = DockerContainers(api, self._cgroups, self._exits, node_id)
        self._images = DockerImages(api, Path(facts["DockerRootDir"]))
        self._carrier = DockerFiles(api)
        self._quota = WorkVolumes(state_dir / "volumes") if quota_volumes else None
        self._named = NamedVolumes(api, node_id)
        self._feeds: dict[str, LogFeed] = {}
        self._copying: set[str] = set()
        self._watched: set[str] = set()
        self._locks: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()  # each lives while somebody holds it

    @property
    def work_volumes(self) -> str:
        """``quota``: /work cannot grow beyond its size. ``watched``: it is measured every ten seconds."""
        return "quota" if self._quota else "watched"

    async def info(self) -> EngineInfo:
        facts = await self._api.call(self._api.client.info)
        security = " ".join(facts.get("SecurityOptions") or [])
        runtimes = tuple(facts.get("Runtimes") or ())
        return EngineInfo(
            version=str(facts["ServerVersion"]),
            runtimes=runtimes,
            cgroup_version=self._cgroups.version,
            rootless="name=rootless" in security,
            storage_driver=str(facts["Driver"]),
            nvidia="nvidia" in runtimes,
        )

    async def images(self) -> dict[str, str]:
        return await self._images.present()

    async def ensure_image(self, reference: str) -> str:
        return await self._images.ensure(reference)

    async def ensure_created(self, spec: ContainerSpec) -> None:
        check_spec(spec, self._host)
        async with self._lock(spec.lease_id):
            files, inspected = self._files(spec.lease_id), await self._containers.inspect(spec.lease_id)
            if inspected is None and (files.marked(STARTED) or files.marked(REMOVED)):
                raise ContainerLost(spec.lease_id)
            if inspected is not None and self._state_of(inspected).phase != "created":
                return
            image_id = await self._images.resolve(spec.image)
            work = await self._ensure_work(spec, image_id)
            payload = plan_container(spec, image_id=image_id, work=work, host=self._host)
            if inspected is not None:
                if inspected["Config"]["Labels"].get(LABEL_PLAN) == payload["Labels"][LABEL_PLAN]:
                    return
                await self._containers.remove(spec.lease_id)  # made by an older version of us, and never started
            files.make()
            await self._containers.create(spec.lease_id, payload)

    async def put_files(self, lease_id: str, target: str, tar_path: str) -> None:
        inspected = await self._find(lease_id)
        await self._carrier.put(inspected["Id"], target, tar_path)

    async def ensure_started(self, lease_id: str) -> ContainerState:
        async with self._lock(lease_id):
            inspected = await self._find(lease_id)
            if self._state_of(inspected).phase == "created":
                await self._prepare_start(inspected)
                await self._listen(inspected)
                inspected = await self._containers.start(lease_id)
            self._attend(inspected)
            return self._state_of(inspected)

    async def state(self, lease_id: str) -> ContainerState | None:
        inspected = await self._containers.inspect(lease_id)
        return None if inspected is None else self._state_of(inspected)

    async def wait_exit(self, lease_id: str) -> ContainerState:
        inspected = await self._containers.wait_not_running(lease_id)
        if inspected is None:
            raise ContainerLost(lease_id)
        await self._containers.confirm_gone(lease_id)
        if await self._containers.lacks_program(inspected):
            self._files(lease_id).mark(NO_PROGRAM)
        state = self._state_of(inspected)
        self._read_meter(lease_id, oom_killed=state.oom_killed)
        return state

    async def usage(self, lease_id: str) -> Usage:
        await trio.lowlevel.checkpoint()
        return self._read_meter(lease_id)

    async def ensure_paused(self, lease_id: str) -> None:
        await self._find(lease_id)
        await self._containers.set_paused(lease_id, paused=True)

    async def ensure_resumed(self, lease_id: str) -> None:
        await self._find(lease_id)
        await self._containers.set_paused(lease_id, paused=False)

    async def ensure_stopped(self, lease_id: str, *, grace_ms: int) -> ContainerState | None:
        inspected = await self._containers.inspect(lease_id)
        if inspected is not None and self._state_of(inspected).phase == "running":
            await self._containers.end(lease_id, grace_ms=grace_ms)
            inspected = await self._containers.inspect(lease_id)
        await self._containers.confirm_gone(lease_id)
        state = None if inspected is None else self._state_of(inspected)
        self._read_meter(lease_id, oom_killed=bool(state and state.oom_killed))
        return state

    async def ensure_removed(self, lease_id: str) -> None:
        await self.ensure_stopped(lease_id, grace_ms=0)
        async with self._lock(lease_id):
            inspected = await self._containers.inspect(lease_id)
            if inspected is not None:
                await self._drain_logs(inspected)
                await self._containers.remove(lease_id)
            self._files(lease_id).mark(REMOVED)
            self._cgroups.remove(lease_id)
            await self._release_work(lease_id)
        self._feeds.pop(lease_id, None)

    async def leases(self) -> list[ContainerState]:
        return [self._state_of(inspected) for inspected in await self._containers.ours()]

    @asynccontextmanager
    async def follow_logs(self, lease_id: str, offset: int) -> AsyncIterator[AsyncIterator[LogChunk]]:
        inspected = await self._containers.inspect(lease_id)
        if inspected is None or self._files(lease_id).marked(REMOVED):
            # Nothing will be added: this feed is the reader's own, so that nothing is kept of leases that are over.
            feed = LogFeed(self._files(lease_id).log)
            feed.idle.set()
        else:
            self._attend(inspected)
            feed = self._feed(lease_id)
        yield LogIterator(feed, offset)

    async def fetch_files(self, lease_id: str, path: str, tar_path: str, *, max_bytes: int) -> int:
        inspected = await self._find(lease_id)
        return await self._carrier.fetch(inspected["Id"], path, tar_path, max_bytes=max_bytes)

    async def resume(self) -> None:
        """Take up again what an earlier run of this node left: watchdogs, logs, half-made volumes."""
        self._nursery.start_soon(self._exits.run)
        ours = {item["Config"]["Labels"][LABEL_LEASE]: item for item in await self._containers.ours()}
        for inspected in ours.values():
            if self._state_of(inspected).phase == "running":
                await self._ensure_watchdog(inspected)
            self._attend(inspected)
        if self._quota:
            for lease_id in await trio.to_thread.run_sync(self._quota.leases):
                if lease_id not in ours:
                    await trio.to_thread.run_sync(self._quota.release, lease_id)
        now_ms = time.time_ns() // 1_000_000  # compared with file times only
        await trio.to_thread.run_sync(lambda: sweep(self._leases_dir, older_than_ms=now_ms - KEEP_LOGS_MS))

    def _files(self, lease_id: str) -> LeaseFiles:
        return LeaseFiles(self._leases_dir, lease_id)

    def _lock(self, lease_id: str) -> trio.Lock:
        return self._locks.setdefault(lease_id, trio.Lock())

    def _feed(self, lease_id: str) -> LogFeed:
        return self._feeds.setdefault(lease_id, LogFeed(self._files(lease_id).log))

    def _state_of(self, inspected: Inspected) -> ContainerState:
        files = self._files(inspected["Config"]["Labels"][LABEL_LEASE])
        return container_state(
            inspected,
            stopped_by_deadline=files.marked(TIME_LIMIT_MARK),
            program_missing=files.marked(NO_PROGRAM),
        )

    async def _find(self, lease_id: str) -> Inspected:
        inspected = await self._containers.inspect(lease_id)
        if inspected is None:
            raise ContainerLost(lease_id)
        return inspected

    async def _ensure_work(self, spec: ContainerSpec, image_id: str) -> WorkMount:
        if self._quota:
            return await trio.to_thread.run_sync(self._quota.ensure, spec.lease_id, spec.disk_mib)
        return await self._named.ensure(spec.lease_id, image_id)

    async def _release_work(self, lease_id: str) -> None:
        if self._quota:
            await trio.to_thread.run_sync(self._quota.release, lease_id)
        else:
            await self._named.release(lease_id)

    async def _prepare_start(self, inspected: Inspected) -> None:
        """What must be true before a job's first instruction: its disk is bounded and its time limit is watched."""
        lease_id = inspected["Config"]["Labels"][LABEL_LEASE]
        if self._quota and not self._quota.is_ready(lease_id):
            await trio.to_thread.run_sync(self._quota.remount, lease_id)
        await self._ensure_watchdog(inspected)
        self._files(lease_id).mark(STARTED)

    async def _ensure_watchdog(self, inspected: Inspected) -> None:
        labels = inspected["Config"]["Labels"]
        await trio.to_thread.run_sync(
            lambda: ensure_watchdog(
                self._files(labels[LABEL_LEASE]),
                engine_socket=self._api.socket_path,
                container=inspected["Id"],
                stop_after_ms=int(labels[LABEL_STOP_AFTER]),
            )
        )

    def _attend(self, inspected: Inspected) -> None:
        """Make sure a started container's output is being copied, and its volume watched where it has no quota."""
        lease_id = inspected["Config"]["Labels"][LABEL_LEASE]
        feed, state = self._feed(lease_id), self._state_of(inspected)
        if state.phase == "created":
            return
        if lease_id not in self._copying and not feed.idle.is_set():
            self._copying.add(lease_id)
            self._nursery.start_soon(self._copy_log, feed, lease_id, inspected["Id"])
        if not self._quota and state.phase == "running" and lease_id not in self._watched:
            self._watched.add(lease_id)
            self._nursery.start_soon(self._watch_disk, lease_id, int(inspected["Config"]["Labels"][LABEL_DISK]))

    async def _listen(self, inspected: Inspected) -> None:
        """Be at a container's streams before it is started: what is printed then cannot be missed."""
        lease_id = inspected["Config"]["Labels"][LABEL_LEASE]
        feed = self._feed(lease_id)
        if lease_id not in self._copying and not feed.idle.is_set():
            self._copying.add(lease_id)
            await self._nursery.start(self._copy_new_log, feed, lease_id, inspected["Id"])

    async def _copy_new_log(self, feed: LogFeed, lease_id: str, container: str, *, task_status: Any) -> None:
        await self._copy_log(feed, lease_id, container, task_status.started)

    async def _copy_log(
        self, feed: LogFeed, lease_id: str, container: str, listening: Callable[[], None] | None = None
    ) -> None:
        files = self._files(lease_id)
        copier = LogCopier(self._api, feed, container, cap=self._log_cap)
        try:
            await copier.run(
                lambda: self.state(lease_id),
                lambda: "stopped: /work grew beyond its size" if files.marked(OVER_DISK) else "",
                listening=listening,
            )
        finally:
            self._copying.discard(lease_id)

    async def _watch_disk(self, lease_id: str, disk_mib: int) -> None:
        while True:
            await trio.sleep(WATCH_EVERY_S)
            try:
                state = await self.state(lease_id)
                if state is None or state.phase != "running":
                    self._watched.discard(lease_id)
                    return
                if await self._named.used_mib(lease_id) > disk_mib:
                    self._files(lease_id).mark(OVER_DISK)
                    await self._containers.end(lease_id, grace_ms=0)
            except Unavailable:
                continue  # the engine restarts; look again

    async def _drain_logs(self, inspected: Inspected) -> None:
        """Let the copier reach the end: removing the container deletes what it has not read."""
        self._attend(inspected)
        lease_id = inspected["Config"]["Labels"][LABEL_LEASE]
        if lease_id in self._copying:
            with trio.move_on_after(DRAIN_TIMEOUT_S):
                await self._feed(lease_id).idle.wait()

    def _read_meter(self, lease_id: str, *, oom_killed: bool = False) -> Usage:
        files, now = self._files(lease_id), self._cgroups.read(lease_id) or Usage()
        saved = files.load_usage()
        # In version 1 the count of OOM kills dies with the container's own group; its state remembers.
        usage = highest(highest(now, saved), Usage(oom_kills=int(oom_killed)))
        if usage != saved:
            files.save_usage(usage)
        return usage
