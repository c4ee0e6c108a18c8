"""A job's /work: exactly as large as bought where we are root, watched elsewhere, and there after the exit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from market.errors import InvalidRequest
from runtime import docker_engine
from runtime.work_volumes import WorkVolumes, can_make_volumes
from tests.integration.docker_rig import DockerRig, docker_rig, read_log, run_to_end

pytestmark = pytest.mark.docker

FILL = """
size = 0
try:
    with open('/work/out.fill', 'wb', buffering=0) as file:
        while size < 200 << 20:
            size += file.write(b'x' * (1 << 20))
except OSError as error:
    print(error.errno)
print(size >> 20)
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[DockerRig]:
    with trio.fail_after(100):
        async with docker_rig(tmp_path / "state") as rig:
            yield rig


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[DockerRig]:
    with trio.fail_after(100):
        async with docker_rig(tmp_path / "state", quota_volumes=False) as rig:
            yield rig


async def test_a_full_disk_is_the_jobs_own(rig: DockerRig) -> None:
    async with rig.open() as engine:
        assert engine.work_volumes == "quota", "this test needs root and loop devices"
        spec = rig.spec(FILL, disk_mib=32)
        error, size = (await run_to_end(engine, spec)).split()
        assert error == b"28"
        assert 32 <= int(size) <= 40
        mounted = rig.state_dir / "volumes" / spec.lease_id
        assert mounted.is_mount()
        await engine.ensure_removed(spec.lease_id)
        assert not mounted.exists()
        assert WorkVolumes(rig.state_dir / "volumes").leases() == []


async def test_a_volume_left_half_made_is_swept_at_the_next_start(rig: DockerRig) -> None:
    assert can_make_volumes()
    volumes = WorkVolumes(rig.state_dir / "volumes")
    volumes.ensure("0123456789abcdef", 16)
    (rig.state_dir / "volumes" / "fedcba9876543210.new").write_bytes(b"torn")
    async with rig.open():
        assert volumes.leases() == []


async def test_without_quotas_work_is_a_volume_of_the_engine(watched: DockerRig, tmp_path: Path) -> None:
    async with watched.open() as engine:
        assert engine.work_volumes == "watched"
        spec = watched.spec("import os; os.mkdir('/work/out'); open('/work/out/result', 'w').write('ok')")
        await run_to_end(engine, spec)
        out = tmp_path / "out.tar"
        await engine.fetch_files(spec.lease_id, "/work/out/result", str(out), max_bytes=99_999)
        assert out.exists()
        await engine.ensure_removed(spec.lease_id)
        listed = await trio.run_process(
            ["docker", "volume", "ls", "--quiet", "--filter", f"label=cfab.node={watched.node_id}"], capture_stdout=True
        )
        assert listed.stdout == b""


async def test_without_quotas_a_job_that_grows_is_stopped(watched: DockerRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_engine, "WATCH_EVERY_S", 0.2)
    async with watched.open() as engine:
        spec = watched.spec(FILL + "import time; time.sleep(600)", disk_mib=8)
        await engine.ensure_created(spec)
        await engine.ensure_started(spec.lease_id)
        state = await engine.wait_exit(spec.lease_id)
        assert state.exit_code == 137
        assert b"/work grew beyond its size" in await read_log(engine, spec.lease_id)


async def test_links_and_pipes_do_not_come_out(rig: DockerRig, tmp_path: Path) -> None:
    program = "import os\nos.makedirs('/work/out')\nos.symlink('/etc/passwd', '/work/out/link')"
    async with rig.open() as engine:
        spec = rig.spec(program)
        await run_to_end(engine, spec)
        with pytest.raises(InvalidRequest) as refused:
            await engine.fetch_files(spec.lease_id, "/work/out", str(tmp_path / "o.tar"), max_bytes=1 << 20)
        assert refused.value.code == "link_out_of_tree"


async def test_a_file_of_nothing_but_holes_is_cut_off(rig: DockerRig, tmp_path: Path) -> None:
    program = "import os\nos.makedirs('/work/out')\nopen('/work/out/holes', 'wb').truncate(10 << 30)"
    async with rig.open() as engine:
        spec = rig.spec(program)
        await run_to_end(engine, spec)
        with pytest.raises(InvalidRequest) as refused:
            await engine.fetch_files(spec.lease_id, "/work/out", str(tmp_path / "o.tar"), max_bytes=1 << 20)
        assert refused.value.code == "output_too_large"
        assert not (tmp_path / "o.tar").exists()
        assert not (tmp_path / "o.tar.part").exists()
