"""What the hardened profile costs at the start of a job, against a bare container, turn by turn on the same machine.

    python -m tests.bench.container_start [ROUNDS]

Prints medians in milliseconds, and the cost of one meter reading.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.integration.docker_rig import IMAGE, DockerRig, docker_rig

Times = dict[str, list[float]]


async def measure(rounds: int) -> Times:
    times: Times = {"bare": [], "hardened": [], "prepare": [], "remove": [], "meter": []}
    with tempfile.TemporaryDirectory() as directory:
        async with docker_rig(Path(directory)) as rig:
            for _ in range(rounds):
                await bare(rig, times)
                await hardened(rig, times)
    return times


async def bare(rig: DockerRig, times: Times) -> None:
    """The engine's defaults without a network, through the same client."""
    async with rig.open() as engine:
        api = engine._api
        config = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}, "Labels": {"cfab.bench": "1"}}
        created = await api.call(api.client.create_container_from_config, config, None)
        begun = time.perf_counter()
        await api.call(api.client.start, created["Id"])
        times["bare"].append(time.perf_counter() - begun)
        await api.call(api.client.wait, created["Id"])
        await api.call(api.client.remove_container, created["Id"], force=True)


async def hardened(rig: DockerRig, times: Times) -> None:
    async with rig.open() as engine:
        spec = rig.spec(command=("true",))
        begun = time.perf_counter()
        await engine.ensure_created(spec)
        created = time.perf_counter()
        await engine.ensure_started(spec.lease_id)
        times["prepare"].append(created - begun)
        times["hardened"].append(time.perf_counter() - created)
        await engine.wait_exit(spec.lease_id)
        begun = time.perf_counter()
        for _ in range(100):
            await engine.usage(spec.lease_id)
        times["meter"].append((time.perf_counter() - begun) / 100)
        begun = time.perf_counter()
        await engine.ensure_removed(spec.lease_id)
        times["remove"].append(time.perf_counter() - begun)


def main() -> None:
    times = trio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 10)
    for name, values in times.items():
        print(f"{name:9} median {statistics.median(values) * 1000:8.2f} ms  least {min(values) * 1000:8.2f} ms")


if __name__ == "__main__":
    main()
