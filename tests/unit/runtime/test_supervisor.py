"""Tidying up before a node serves."""

from __future__ import annotations

from runtime.ports import ContainerSpec
from runtime.reconcile import KnownLease, Step
from runtime.supervisor import tidy_up
from tests.fakes.memory_engine import JobScript, MemoryDocker, MemoryEngine
from tests.integration.docker_rig import make_spec


async def start(engine: MemoryEngine, spec: ContainerSpec) -> None:
    await engine.ensure_created(spec)
    await engine.ensure_started(spec.lease_id)


async def test_strays_go_and_live_leases_stay(autojump_clock: object) -> None:
    world = MemoryDocker(lambda: 1, script=lambda spec: JobScript(duration_ms=60_000))
    ours, neighbour = MemoryEngine(world, "ours"), MemoryEngine(world, "neighbour")
    live, stray, over, theirs = (make_spec(node) for node in ("ours", "ours", "ours", "neighbour"))
    for spec in (live, stray, over):
        await start(ours, spec)
    await start(neighbour, theirs)
    known = [
        KnownLease(lease_id=live.lease_id, fencing=1, over=False),
        KnownLease(lease_id=over.lease_id, fencing=1, over=True),
    ]
    steps = {action.lease_id: action.step for action in await tidy_up(ours, known)}
    assert steps == {live.lease_id: Step.ADOPT, stray.lease_id: Step.REMOVE, over.lease_id: Step.REMOVE}
    assert [state.lease_id for state in await ours.leases()] == [live.lease_id]
    assert [state.lease_id for state in await neighbour.leases()] == [theirs.lease_id]
