"""A job's output when there is much of it, when it comes on both streams, and when there is more than is kept."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from market.records import ExitReason
from runtime import container_plan, docker_logs
from runtime.container_plan import container_name
from runtime.docker_engine import DockerEngine
from runtime.log_frames import LogPosition
from runtime.log_spool import LogSpool, notice
from runtime.ports import ContainerSpec, exit_reason
from tests.integration.docker_rig import DockerRig, docker_rig, new_lease_id, read_log, run_to_end

pytestmark = pytest.mark.docker

CAP = 1_000_000
LINES = 400_000
FLOOD = "for n in range(%d, %d): print(f'{n:09}', 'x' * 40)"
ON_SIGNAL = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {10})\n%s\nsignal.sigwait({10})\n%s"


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
        assert output == expected + notice(f"output above {CAP} bytes is dropped")
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


async def test_no_memory_is_kept_of_a_lease_that_is_over(rig: DockerRig) -> None:
    """Also when somebody asks for its log later, or for one that never was: ids cost a peer nothing."""
    async with rig.open() as engine:
        spec = rig.spec("print('done')")
        output = await run_to_end(engine, spec)
        await engine.ensure_removed(spec.lease_id)
        assert await read_log(engine, spec.lease_id) == output
        assert await read_log(engine, new_lease_id()) == b""
        assert (dict(engine._locks), engine._feeds, engine._copying) == ({}, {}, set())


@pytest.fixture
async def roomy(tmp_path: Path) -> AsyncIterator[DockerRig]:
    """A rig with the usual cap."""
    with trio.fail_after(100):
        async with docker_rig(tmp_path / "state") as rig:
            yield rig


@pytest.fixture
def small_engine_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine deletes all but the last one or two megabytes."""
    monkeypatch.setattr(container_plan, "LOG_FILE_MIB", 1)


def lines(start: int, end: int) -> bytes:
    return b"".join(b"%09d %s\n" % (n, b"x" * 40) for n in range(start, end))


async def run_until(engine: DockerEngine, spec: ContainerSpec, output: bytes) -> None:
    """Start a job and wait until it has printed this."""
    await engine.ensure_created(spec)
    await engine.ensure_started(spec.lease_id)
    await read_until(engine, spec, output)


async def read_until(engine: DockerEngine, spec: ContainerSpec, output: bytes) -> None:
    got = b""
    async with engine.follow_logs(spec.lease_id, 0) as chunks:
        async for chunk in chunks:
            got += chunk.data
            if len(got) >= len(output):
                break
    assert got == output


async def signal_job(spec: ContainerSpec) -> None:
    await trio.run_process(["docker", "kill", "-s", "USR1", container_name(spec.lease_id)], capture_stdout=True)


async def wait_without_node(spec: ContainerSpec) -> None:
    await trio.run_process(["docker", "wait", container_name(spec.lease_id)], capture_stdout=True)


@pytest.mark.usefixtures("small_engine_log")
async def test_a_flood_is_slowed_down_and_not_cut(roomy: DockerRig) -> None:
    """Twenty times what the engine keeps: it has to be read from the job's own streams."""
    async with roomy.open() as engine:
        output = await run_to_end(engine, roomy.spec(FLOOD % (0, LINES)))
    assert output == lines(0, LINES)


async def test_half_a_line_is_read_before_it_ends(rig: DockerRig) -> None:
    spec = rig.spec(ON_SIGNAL % ("print('name? ', end='')", "print('none')"))
    async with rig.open() as engine:
        await run_until(engine, spec, b"name? ")
    async with rig.open() as engine:
        await signal_job(spec)
        await engine.wait_exit(spec.lease_id)
        assert await read_log(engine, spec.lease_id) == b"name? none\n"


async def test_what_was_printed_while_the_node_was_away_is_neither_lost_nor_repeated(roomy: DockerRig) -> None:
    spec = roomy.spec(ON_SIGNAL % (FLOOD % (0, 50_000), FLOOD % (50_000, 100_000)))
    async with roomy.open() as engine:
        await run_until(engine, spec, lines(0, 50_000))
    await signal_job(spec)
    await wait_without_node(spec)
    async with roomy.open() as engine:
        assert await read_log(engine, spec.lease_id) == lines(0, 100_000)


async def test_a_node_that_comes_back_goes_on_reading_a_running_job(roomy: DockerRig) -> None:
    spec = roomy.spec(ON_SIGNAL % (FLOOD % (0, 50_000), FLOOD % (50_000, 100_000)))
    async with roomy.open() as engine:
        await run_until(engine, spec, lines(0, 50_000))
    async with roomy.open() as engine:
        await signal_job(spec)
        assert await read_log(engine, spec.lease_id) == lines(0, 100_000)


@pytest.mark.usefixtures("small_engine_log")
async def test_what_the_engine_deleted_while_the_node_was_away_is_said_to_be_missing(roomy: DockerRig) -> None:
    spec = roomy.spec(ON_SIGNAL % (FLOOD % (0, 1000), FLOOD % (1000, 101_000)))
    async with roomy.open() as engine:
        await run_until(engine, spec, lines(0, 1000))
    await signal_job(spec)
    await wait_without_node(spec)
    async with roomy.open() as engine:
        output = await read_log(engine, spec.lease_id)
    before, rest = output.split(b"\n[cfab: what was printed from ")
    said, after = rest.split(b" is missing: the engine deleted it before it was copied]\n")
    assert before == lines(0, 1000)
    assert lines(1000, 101_000).endswith(after)
    assert len(after) > 1_000_000
    assert said.count(b"Z") == 2


async def test_a_job_whose_output_is_not_read_can_still_be_ended(
    roomy: DockerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs holds the job up, never the engine."""
    stuck, release, append = trio.Event(), threading.Event(), LogSpool.append
    token = trio.lowlevel.current_trio_token()

    def hang(spool: LogSpool, data: bytes, position: LogPosition) -> None:
        token.run_sync_soon(stuck.set)
        release.wait(60)
        append(spool, data, position)

    monkeypatch.setattr(LogSpool, "append", hang)
    monkeypatch.setattr(docker_logs, "STALL_S", 0.5)
    spec = roomy.spec("while True: print('x' * 1000)")
    try:
        async with roomy.open() as engine:
            await engine.ensure_created(spec)
            await engine.ensure_started(spec.lease_id)
            await stuck.wait()
            state = await engine.ensure_stopped(spec.lease_id, grace_ms=0)
            assert state is not None
            assert state.phase == "exited"
            release.set()
            output = await read_log(engine, spec.lease_id)
        assert set(output.splitlines()[:-1]) == {b"x" * 1000}
    finally:
        release.set()


async def test_the_job_runs_on_when_its_log_is_full(rig: DockerRig) -> None:
    spec = rig.spec("for n in range(200_000): print('x' * 99)\nopen('/work/done', 'w').write('yes')")
    async with rig.open() as engine:
        output = await run_to_end(engine, spec)
        assert output.endswith(notice(f"output above {CAP} bytes is dropped"))
        assert (await engine.wait_exit(spec.lease_id)).exit_code == 0


async def test_a_start_that_fails_ends_the_log(rig: DockerRig) -> None:
    spec = rig.spec("", gpu_uuids=("GPU-00000000-0000-0000-0000-000000000000",))
    async with rig.open() as engine:
        await engine.ensure_created(spec)
        state = await engine.ensure_started(spec.lease_id)
        assert exit_reason(state) == ExitReason.START_FAILED
        assert await read_log(engine, spec.lease_id) == b""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("/opt/no-such-program",), ExitReason.START_FAILED),
        (("no-such-program", "-x"), ExitReason.START_FAILED),
        (("sh", "-c", "exit 127"), ExitReason.ERROR),
        (("/bin/sh", "-c", "no-such-program"), ExitReason.ERROR),
        (("/work/no-such-program",), ExitReason.ERROR),
    ],
)
async def test_a_program_the_image_lacks_is_told_from_one_that_says_127(
    rig: DockerRig, command: tuple[str, ...], expected: ExitReason
) -> None:
    spec = rig.spec(command=command)
    async with rig.open() as engine:
        await engine.ensure_created(spec)
        await engine.ensure_started(spec.lease_id)
        state = await engine.wait_exit(spec.lease_id)
        assert (state.exit_code, exit_reason(state)) == (127, expected)
        named = f"the program '{command[0]}' was not found in the image"
        assert state.error == (named if expected == ExitReason.START_FAILED else "")
        assert await engine.state(spec.lease_id) == state
