"""The node is killed without warning: its jobs run on, still end at their limit, and a new node takes them up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from market.records import ExitReason
from runtime.lease_files import LeaseFiles
from runtime.ports import exit_reason
from runtime.watchdog import watchdog_lives
from tests.integration.docker_rig import DockerRig, docker_rig, read_log

pytestmark = pytest.mark.docker

NODE = """
import sys, trio
from pathlib import Path
from runtime.docker_engine import open_docker_engine
from tests.integration.docker_rig import make_spec

async def main(node_id, state_dir, lease_id, stop_after_ms, program):
    async with open_docker_engine(node_id=node_id, state_dir=Path(state_dir)) as engine:
        spec = make_spec(node_id, program, lease_id=lease_id, stop_after_ms=int(stop_after_ms))
        await engine.ensure_created(spec)
        await engine.ensure_started(lease_id)
        async with engine.follow_logs(lease_id, 0) as chunks:
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk.data)
                sys.stdout.buffer.flush()

trio.run(main, *sys.argv[1:])
"""
LEASE = "ab" * 16


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[DockerRig]:
    with trio.fail_after(100):
        async with docker_rig(tmp_path / "state") as rig:
            yield rig


def start_node(rig: DockerRig, program: str, *, stop_after_ms: int) -> subprocess.Popen[bytes]:
    """A node process that starts one job and prints its output."""
    arguments = [rig.node_id, str(rig.state_dir), LEASE, str(stop_after_ms), program]
    return subprocess.Popen([sys.executable, "-c", NODE, *arguments], stdout=subprocess.PIPE, start_new_session=True)


async def kill_after_first_line(node: subprocess.Popen[bytes]) -> bytes:
    assert node.stdout is not None
    line = await trio.to_thread.run_sync(node.stdout.readline)
    # The whole group, so that nothing the node started in it can stand in for the watchdog.
    # Never through the kill program: some of its versions read "-<pid>" as "every process there is".
    assert os.getpgid(node.pid) == node.pid
    os.killpg(node.pid, signal.SIGKILL)
    assert await trio.to_thread.run_sync(node.wait) == -signal.SIGKILL
    node.stdout.close()
    return line


async def test_the_limit_holds_although_the_node_is_dead(rig: DockerRig) -> None:
    with start_node(rig, "print('up')\nimport time; time.sleep(600)", stop_after_ms=3_000) as node:
        assert await kill_after_first_line(node) == b"up\n"
    # Nobody of ours is left; the engine's own client waits, so that no code of the adapter can be what ended it.
    done = await trio.run_process(["docker", "wait", f"cfab-{LEASE}"], capture_stdout=True)
    assert done.stdout.strip() == b"137"
    async with rig.open() as engine:
        state = await engine.wait_exit(LEASE)
        assert exit_reason(state) == ExitReason.TIME_LIMIT
        assert state.finished_at - state.started_at >= 3_000
        assert await read_log(engine, LEASE) == b"up\n"


async def test_no_byte_of_output_is_lost_or_doubled_by_a_kill(rig: DockerRig) -> None:
    count = 3_000
    program = f"import time\nfor n in range({count}):\n  print(f'line {{n:06}}')\n  time.sleep(0.0005)"
    with start_node(rig, program, stop_after_ms=60_000) as node:
        await kill_after_first_line(node)
    expected = b"".join(b"line %06d\n" % n for n in range(count))
    for _ in range(3):  # three more restarts, each in the middle of the job
        async with rig.open() as engine, engine.follow_logs(LEASE, 0) as chunks:
            first = await anext(chunks)
            assert first.offset == 0
            assert expected.startswith(first.data)
    async with rig.open() as engine:
        assert await read_log(engine, LEASE) == expected
        assert await read_log(engine, LEASE, 12_345) == expected[12_345:]
        assert exit_reason(await engine.wait_exit(LEASE)) == ExitReason.OK


def processes_naming(path: Path) -> list[int]:
    """Processes with this path on their command line (a bare machine has no ``pgrep``)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(path).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


async def test_a_killed_watchdog_is_put_back(rig: DockerRig) -> None:
    files = LeaseFiles(rig.state_dir / "leases", LEASE)
    with start_node(rig, "print('up')\nimport time; time.sleep(600)", stop_after_ms=600_000) as node:
        await kill_after_first_line(node)
    assert watchdog_lives(files)
    [watchdog] = processes_naming(files.watchdog_lock)
    os.kill(watchdog, signal.SIGKILL)
    while watchdog_lives(files):
        await trio.sleep(0.01)
    async with rig.open() as engine:
        assert watchdog_lives(files)
        await engine.ensure_removed(LEASE)
        while watchdog_lives(files):
            await trio.sleep(0.01)


async def test_usage_counts_what_ran_while_no_node_lived(rig: DockerRig) -> None:
    burn = "print('up')\nimport time\nwhile time.process_time() < 1.5: pass"
    with start_node(rig, burn, stop_after_ms=60_000) as node:
        await kill_after_first_line(node)
    await trio.run_process(["docker", "wait", f"cfab-{LEASE}"], capture_stdout=True)
    async with rig.open() as engine:
        assert 1_500 <= (await engine.usage(LEASE)).cpu_ms < 1_900
