"""A hostile job against the real profile: what it can reach, whether it can outlive its lease, what it can use up."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from market.records import ExitReason
from runtime.ports import exit_reason
from tests.integration.docker_rig import DockerRig, docker_rig, read_log, run_to_end

pytestmark = pytest.mark.docker

PROBE = (Path(__file__).parent / "jobs" / "escape_probe.py").read_text(encoding="utf-8")
GHOST = (Path(__file__).parent / "jobs" / "ghost.py").read_text(encoding="utf-8")

FACTS = {
    "user": "learnt:65534:65534",
    "groups": "learnt:[65534]",
    "capabilities": "learnt:" + "/".join(["0" * 16] * 3),
    "no new privileges": "learnt:1",
    "seccomp": "learnt:2",
    "interfaces up": "learnt:[]",
}
"""What the probe must find out about itself."""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[DockerRig]:
    with trio.fail_after(100):
        async with docker_rig(tmp_path / "state") as rig:
            yield rig


async def test_no_attempt_to_escape_succeeds(rig: DockerRig) -> None:
    async with rig.open() as engine:
        outcomes = json.loads(await run_to_end(engine, rig.spec(PROBE)))
    for name, outcome in outcomes.items():
        print(f"{name:34} {outcome}")
    facts = {name: outcome for name, outcome in outcomes.items() if name in FACTS}
    needed = {name: outcome for name, outcome in outcomes.items() if name.startswith("needed: ")}
    attempts = {name: outcome for name, outcome in outcomes.items() if name not in facts and name not in needed}
    assert facts == FACTS
    assert set(needed.values()) == {"succeeded"}, needed
    assert len(attempts) >= 60
    assert {name: outcome for name, outcome in attempts.items() if not outcome.startswith("blocked:")} == {}


async def test_a_job_that_asks_to_be_traced_does_not_outlive_its_lease(rig: DockerRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec(GHOST)
        await engine.ensure_created(spec)
        await engine.ensure_started(spec.lease_id)
        async with engine.follow_logs(spec.lease_id, 0) as chunks:
            await anext(chunks)
        cgroups = await rig.cgroups()
        assert cgroups.processes(spec.lease_id)
        await engine.ensure_stopped(spec.lease_id, grace_ms=0)
        assert cgroups.processes(spec.lease_id) == []
        await engine.ensure_removed(spec.lease_id)
        assert cgroups.read(spec.lease_id) is None


async def test_a_fork_bomb_stays_in_its_box(rig: DockerRig) -> None:
    bomb = "import os\nprint('go')\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    async with rig.open() as engine:
        spec = rig.spec(bomb, cpu_milli=500)
        await engine.ensure_created(spec)
        await engine.ensure_started(spec.lease_id)
        async with engine.follow_logs(spec.lease_id, 0) as chunks:
            await anext(chunks)
        cgroups = await rig.cgroups()
        most = 0
        for _ in range(20):
            await trio.sleep(0.05)
            most = max(most, len(cgroups.processes(spec.lease_id)))
        state = await engine.ensure_stopped(spec.lease_id, grace_ms=0)
        assert 1 < most <= 4096
        assert cgroups.processes(spec.lease_id) == []
        assert state is not None
        assert state.exit_code != 0


async def test_memory_taken_through_files_in_memory_counts(rig: DockerRig) -> None:
    fill = "f = open('/tmp/fill', 'wb')\nwhile True: f.write(b'x' * (1 << 20)); f.flush()"
    async with rig.open() as engine:
        spec = rig.spec(fill, memory_mib=64)
        await engine.ensure_created(spec)
        await engine.ensure_started(spec.lease_id)
        state = await engine.wait_exit(spec.lease_id)
        # /tmp is as large as the memory, so either it is full first or the memory is.
        assert exit_reason(state) in (ExitReason.OOM, ExitReason.ERROR)
        assert (await engine.usage(spec.lease_id)).memory_peak_mib <= 66


async def test_a_card_that_is_not_here_fails_the_start(rig: DockerRig) -> None:
    async with rig.open() as engine:
        spec = rig.spec("", gpu_uuids=("GPU-00000000-0000-0000-0000-000000000000",))
        await engine.ensure_created(spec)
        state = await engine.ensure_started(spec.lease_id)
        assert exit_reason(state) == ExitReason.START_FAILED
        assert state.error
        assert await engine.wait_exit(spec.lease_id) == state
        assert await read_log(engine, spec.lease_id) == b""
