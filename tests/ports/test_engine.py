"""What every ContainerEngine promises, checked on the fake and on a real Docker Engine alike."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from market.errors import InvalidRequest
from market.records import ExitReason
from runtime.ports import ContainerEngine, ContainerLost, ContainerSpec, ImageFailure, exit_reason
from tests.fakes.memory_engine import JobScript, MemoryDocker, MemoryEngine
from tests.integration.docker_rig import DockerRig, Job, docker_rig, make_spec

PATIENCE_S = 60


class MemoryRig:
    """The fake, with the same face as the real rig."""

    node_id = "test-node"

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.world = MemoryDocker(lambda: time.time_ns() // 1_000_000, script=self._script)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ContainerEngine]:
        yield MemoryEngine(self.world, self.node_id)

    def spec(self, job: Job, **changes: Any) -> ContainerSpec:
        spec = make_spec(self.node_id, job.program(), **changes)
        self.jobs[spec.lease_id] = job
        return spec

    async def lose(self, lease_id: str) -> None:
        self.world.lose(lease_id)

    def _script(self, spec: ContainerSpec) -> JobScript:
        job = self.jobs[spec.lease_id]
        return JobScript(
            duration_ms=job.run_ms,
            exit_code=job.exit_code,
            output=((0, job.output * job.repeat),) if job.output else (),
            files=job.files,
            oom_at_ms=0 if job.eats_memory else float("inf"),
            ignores_sigterm=job.ignores_sigterm,
            start_error="" if spec.command[0] == "python3" else "no such program",
        )


class RealRig:
    """Docker, with the same face as the fake."""

    def __init__(self, rig: DockerRig) -> None:
        self.node_id = rig.node_id
        self._rig = rig

    def open(self) -> Any:
        return self._rig.open()

    def spec(self, job: Job, **changes: Any) -> ContainerSpec:
        return self._rig.spec(job.program(), **changes)

    async def lose(self, lease_id: str) -> None:
        done = await trio.run_process(["docker", "rm", "--force", f"cfab-{lease_id}"], capture_stdout=True)
        assert done.returncode == 0


@pytest.fixture(params=["memory", pytest.param("docker", marks=pytest.mark.docker)])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryRig | RealRig]:
    with trio.fail_after(PATIENCE_S):
        if request.param == "memory":
            yield MemoryRig()
        else:
            async with docker_rig(tmp_path / "state") as real:
                yield RealRig(real)


async def start(engine: ContainerEngine, spec: ContainerSpec) -> None:
    await engine.ensure_created(spec)
    await engine.ensure_started(spec.lease_id)


async def read(engine: ContainerEngine, lease_id: str, offset: int = 0) -> bytes:
    data = b""
    async with engine.follow_logs(lease_id, offset) as chunks:
        async for chunk in chunks:
            assert chunk.offset == offset + len(data)
            data += chunk.data
    return data


async def test_a_job_runs_to_its_end(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(output=b"hello\n", run_ms=50, exit_code=0))
        await engine.ensure_created(spec)
        created = await engine.state(spec.lease_id)
        assert created is not None
        assert (created.phase, created.started_at, created.fencing) == ("created", 0, 1)
        started = await engine.ensure_started(spec.lease_id)
        assert started.started_at > 0
        state = await engine.wait_exit(spec.lease_id)
        assert (state.phase, state.exit_code, exit_reason(state)) == ("exited", 0, ExitReason.OK)
        assert state.finished_at >= state.started_at
        assert await read(engine, spec.lease_id) == b"hello\n"


async def test_a_failing_job_is_an_error(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(exit_code=3))
        await start(engine, spec)
        state = await engine.wait_exit(spec.lease_id)
        assert (state.exit_code, exit_reason(state)) == (3, ExitReason.ERROR)


async def test_memory_beyond_the_limit_is_oom(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(eats_memory=True, run_ms=60_000), memory_mib=64)
        await start(engine, spec)
        state = await engine.wait_exit(spec.lease_id)
        assert (state.oom_killed, exit_reason(state)) == (True, ExitReason.OOM)
        assert (await engine.usage(spec.lease_id)).oom_kills >= 1


async def test_the_time_limit_is_named(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=60_000), stop_after_ms=700)
        await start(engine, spec)
        state = await engine.wait_exit(spec.lease_id)
        assert (state.hit_time_limit, exit_reason(state)) == (True, ExitReason.TIME_LIMIT)
        assert state.finished_at - state.started_at >= 700


async def test_a_program_that_is_not_there_ends_at_once(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(), command=("/no/such/program",))
        await start(engine, spec)
        state = await engine.wait_exit(spec.lease_id)
        assert exit_reason(state) in (ExitReason.START_FAILED, ExitReason.ERROR)
        assert state.exit_code > 0
        assert await engine.ensure_started(spec.lease_id) == state


async def test_a_stop_lets_the_job_end_by_itself_first(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=60_000, output=b"up\n"))
        await start(engine, spec)
        state = await engine.ensure_stopped(spec.lease_id, grace_ms=10_000)
        assert state is not None
        assert (state.phase, state.exit_code) == ("exited", 143)
        assert await engine.ensure_stopped(spec.lease_id, grace_ms=10_000) == state


async def test_a_stop_ends_a_job_that_will_not_listen(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=60_000, output=b"deaf\n", ignores_sigterm=True))
        await start(engine, spec)
        async with engine.follow_logs(spec.lease_id, 0) as chunks:
            await anext(chunks)  # the handler is in place once it has spoken
        state = await engine.ensure_stopped(spec.lease_id, grace_ms=200)
        assert state is not None
        assert state.exit_code == 137
        assert not state.oom_killed


async def test_every_call_may_be_repeated(rig: MemoryRig | RealRig, tmp_path: Path) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(output=b"once\n", run_ms=20))
        for _ in range(2):
            await engine.ensure_created(spec)
        for _ in range(2):
            await engine.put_files(spec.lease_id, "/work/in", str(_tar(tmp_path / "in.tar", {"a": b"1"})))
        for _ in range(2):
            await engine.ensure_started(spec.lease_id)
        first = await engine.wait_exit(spec.lease_id)
        await engine.ensure_created(spec)
        assert await engine.ensure_started(spec.lease_id) == first
        assert await engine.wait_exit(spec.lease_id) == first
        assert await read(engine, spec.lease_id) == b"once\n"
        for _ in range(2):
            await engine.ensure_removed(spec.lease_id)
        assert await engine.state(spec.lease_id) is None
        assert await engine.ensure_stopped(spec.lease_id, grace_ms=0) is None


async def test_a_restarted_node_finds_its_jobs(rig: MemoryRig | RealRig) -> None:
    spec = rig.spec(Job(output=b"still here\n", run_ms=400), fencing=7)
    async with rig.open() as engine:
        await start(engine, spec)
    async with rig.open() as engine:
        [state] = await engine.leases()
        assert (state.lease_id, state.fencing) == (spec.lease_id, 7)
        assert exit_reason(await engine.wait_exit(spec.lease_id)) == ExitReason.OK
        assert await read(engine, spec.lease_id) == b"still here\n"
        assert await read(engine, spec.lease_id, 6) == b"here\n"


async def test_a_container_that_vanished_is_lost_and_never_run_again(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=60_000))
        await start(engine, spec)
        await rig.lose(spec.lease_id)
        with pytest.raises(ContainerLost):
            await engine.wait_exit(spec.lease_id)
        assert await engine.state(spec.lease_id) is None
        with pytest.raises(ContainerLost):
            await engine.ensure_created(spec)
        with pytest.raises(ContainerLost):
            await engine.ensure_started(spec.lease_id)
        await engine.ensure_removed(spec.lease_id)


async def test_a_wait_ends_when_the_container_vanishes(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=60_000))
        await start(engine, spec)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wait_for_any_end, engine, spec.lease_id)
            await trio.testing.wait_all_tasks_blocked()
            await rig.lose(spec.lease_id)


async def test_usage_grows_and_survives_removal(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=100))
        await engine.ensure_created(spec)
        assert (await engine.usage(spec.lease_id)).cpu_ms == 0
        await engine.ensure_started(spec.lease_id)
        await engine.wait_exit(spec.lease_id)
        at_exit = await engine.usage(spec.lease_id)
        assert at_exit.cpu_ms > 0
        assert 0 < at_exit.memory_peak_mib <= spec.memory_mib
        await engine.ensure_removed(spec.lease_id)
        assert await engine.usage(spec.lease_id) == at_exit


async def test_the_log_outlives_the_container(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(output=b"last words\n"))
        await start(engine, spec)
        await engine.wait_exit(spec.lease_id)
        await engine.ensure_removed(spec.lease_id)
        assert await read(engine, spec.lease_id, 5) == b"words\n"
    async with rig.open() as engine:
        assert await read(engine, spec.lease_id) == b"last words\n"


async def test_binary_output_arrives_as_it_is(rig: MemoryRig | RealRig) -> None:
    every_byte = bytes([*range(11, 256), *range(11)])  # ends a line, as logs do
    async with rig.open() as engine:
        spec = rig.spec(Job(output=every_byte, repeat=600))
        await start(engine, spec)
        assert await read(engine, spec.lease_id) == every_byte * 600


async def test_a_paused_job_stands_still(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=300, output=b"go\n"))
        await start(engine, spec)
        for _ in range(2):
            await engine.ensure_paused(spec.lease_id)
        with trio.move_on_after(0.6) as waited:
            await engine.wait_exit(spec.lease_id)
        assert waited.cancelled_caught
        for _ in range(2):
            await engine.ensure_resumed(spec.lease_id)
        assert (await engine.wait_exit(spec.lease_id)).exit_code == 0


async def test_a_paused_job_can_be_stopped(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(run_ms=60_000))
        await start(engine, spec)
        await engine.ensure_paused(spec.lease_id)
        state = await engine.ensure_stopped(spec.lease_id, grace_ms=0)
        assert state is not None
        assert state.phase == "exited"


async def test_outputs_come_out_after_the_exit(rig: MemoryRig | RealRig, tmp_path: Path) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(files={"out/model.bin": b"\0weights", "out/deep/note.txt": b"ok"}))
        await start(engine, spec)
        await engine.wait_exit(spec.lease_id)
        directory, single = tmp_path / "directory.tar", tmp_path / "single.tar"
        size = await engine.fetch_files(spec.lease_id, "/work/out", str(directory), max_bytes=1 << 20)
        assert size == directory.stat().st_size
        assert _files(directory) == {"out/model.bin": b"\0weights", "out/deep/note.txt": b"ok"}
        await engine.fetch_files(spec.lease_id, "/work/out/model.bin", str(single), max_bytes=1 << 20)
        assert _files(single) == {"model.bin": b"\0weights"}


async def test_inputs_are_there_when_the_job_starts(rig: MemoryRig | RealRig, tmp_path: Path) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job())
        await engine.ensure_created(spec)
        source = _tar(tmp_path / "in.tar", {"data/x.csv": b"1,2\n", "readme": b"r"})
        await engine.put_files(spec.lease_id, "/work/in", str(source))
        await engine.ensure_started(spec.lease_id)
        await engine.wait_exit(spec.lease_id)
        out = tmp_path / "out.tar"
        await engine.fetch_files(spec.lease_id, "/work/in", str(out), max_bytes=1 << 20)
        assert _files(out) == {"in/data/x.csv": b"1,2\n", "in/readme": b"r"}


async def test_what_cannot_be_fetched_is_said(rig: MemoryRig | RealRig, tmp_path: Path) -> None:
    async with rig.open() as engine:
        spec = rig.spec(Job(files={"out/big": b"x" * 50_000}))
        await start(engine, spec)
        await engine.wait_exit(spec.lease_id)
        out = tmp_path / "out.tar"
        with pytest.raises(FileNotFoundError):
            await engine.fetch_files(spec.lease_id, "/work/out/nothing", str(out), max_bytes=1 << 20)
        with pytest.raises(InvalidRequest):
            await engine.fetch_files(spec.lease_id, "/work/out/big", str(out), max_bytes=40_000)
        for path in ("/etc/passwd", "/work/../etc/passwd", "work/out/big", "/workshop"):
            with pytest.raises(InvalidRequest):
                await engine.fetch_files(spec.lease_id, path, str(out), max_bytes=1 << 20)
        assert not out.exists()


async def test_what_cannot_be_run_is_refused(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        for change in ({"network": "internet"}, {"runtime": "no-such"}, {"env": {"LD_PRELOAD": "/work/in/x.so"}}):
            with pytest.raises(InvalidRequest):
                await engine.ensure_created(rig.spec(Job(), **change))
        assert await engine.leases() == []


async def test_images_are_known_by_id_and_name(rig: MemoryRig | RealRig) -> None:
    async with rig.open() as engine:
        image_id = await engine.ensure_image("cfab-job-base:local")
        assert await engine.ensure_image(image_id) == image_id
        assert (await engine.images())[image_id] == "cfab-job-base:local"
        with pytest.raises(ImageFailure):
            await engine.ensure_image("no-such-image:anywhere")


async def _wait_for_any_end(engine: ContainerEngine, lease_id: str) -> None:
    try:
        # Removed by force, it may be seen dead for an instant before it is seen gone.
        assert (await engine.wait_exit(lease_id)).exit_code == 137
    except ContainerLost:
        return


def _tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def _files(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
