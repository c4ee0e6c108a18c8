"""A job's output when there is much of it, when it comes on both streams, and when there is more than is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from runtime.log_spool import notice
from tests.integration.docker_rig import DockerRig, docker_rig, read_log, run_to_end

pytestmark = pytest.mark.docker

CAP = 1_000_000


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[DockerRig]:
    with trio.fail_after(100):
        async with docker_rig(tmp_path / "state", log_cap=CAP) as rig:
            yield rig


async def test_both_streams_arrive(rig: DockerRig) -> None:
    program = "import sys\nprint('out')\nprint('error', file=sys.stderr)\nsys.stdout.flush()"
    async with rig.open() as engine:
        output = await run_to_end(engine, rig.spec(program))
    assert sorted(output.splitlines()) == [b"error", b"out"]


async def test_a_flood_is_cut_at_the_cap_and_says_so(rig: DockerRig) -> None:
    program = "import sys\nfor n in range(150000): sys.stdout.write(f'{n:09}\\n')"
    async with rig.open() as engine:
        spec = rig.spec(program)
        output = await run_to_end(engine, spec)
        expected = b"".join(b"%09d\n" % n for n in range(CAP // 10))
        assert output == expected + notice(f"output beyond {CAP} bytes dropped")
        assert await read_log(engine, spec.lease_id, CAP - 5) == output[CAP - 5 :]


async def test_many_readers_see_the_same(rig: DockerRig) -> None:
    program = "import time\nfor n in range(50):\n  print(n)\n  time.sleep(0.01)"
    async with rig.open() as engine:
        spec = rig.spec(program)
        await engine.ensure_created(spec)
        outputs: list[bytes] = []

        async def follow() -> None:
            outputs.append(await read_log(engine, spec.lease_id))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(follow)
            await engine.ensure_started(spec.lease_id)
        assert outputs == [b"".join(b"%d\n" % n for n in range(50))] * 5


async def test_leaving_a_silent_log_takes_no_thread_along(rig: DockerRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec("import time; time.sleep(600)")
        await engine.ensure_created(spec)
        await engine.ensure_started(spec.lease_id)
        with trio.move_on_after(0.2) as patience:
            await read_log(engine, spec.lease_id)
        assert patience.cancelled_caught
    # The copier's connection is closed with the engine: leaving the block above would hang otherwise.
