"""What a user waits for and what a node costs, measured on this machine. Nothing here is asserted.

    python -m tests.bench nodes [JOBS]

Raises the demo's market, submits JOBS empty jobs one after the other, looks at the idle nodes, and starts the command
line a number of times. The figures depend on the machine and on what else it does.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from node.cli.client import NodeClient
from node.devnet.local_market import LocalMarket
from node.devnet.topology import PROVIDERS, REQUESTER
from runtime.job_image import DEFAULT_TAG, ensure_job_image

JOBS = 20
HELP_RUNS = 20
IDLE_S = 10.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] = ()) -> None:
    """Measure and print."""
    jobs = int(arguments[0]) if arguments else JOBS
    rows = help_rows()
    with tempfile.TemporaryDirectory(prefix="cfab-bench-") as folder:
        market = LocalMarket(Path(folder), outlive=False)
        try:
            rows += trio.run(market_rows, market, jobs)
        finally:
            left = market.take_down()
    rows.append(("left behind", f"{len(left.engine)} in the engine, {len(left.killed)} processes killed", "0"))
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    for name, figure, goal in [("WHAT", "MEASURED", "GOAL"), *rows]:
        print(f"{name:<44}{figure:<44}{goal}")


async def market_rows(market: LocalMarket, jobs: int) -> list[tuple[str, str, str]]:
    """Figures that need a running market."""
    await ensure_job_image()
    began = time.monotonic()
    await market.raise_up()
    await market.wait_offers(len(PROVIDERS))
    up = time.monotonic() - began
    rows = [("market up, three offers seen", f"{up:.2f} s", "")]
    rows += await trio.to_thread.run_sync(partial(idle_rows, market))
    client = market.client(REQUESTER)
    times = [await trio.to_thread.run_sync(partial(time_job, client, market.folder)) for _ in range(jobs)]
    for column, goal in (("running", "p50 ≤ 2 s"), ("leased", ""), ("funded", ""), ("settled", "")):
        rows.append((f"submit → {column}, image present, {jobs} jobs", spread([t[column] for t in times]), goal))
    return rows


def time_job(client: NodeClient, folder: Path) -> dict[str, float]:
    """Seconds from the call of ``submit`` to the first sight of each event of one empty job."""
    spec = {"image": DEFAULT_TAG, "command": ["true"], "max_duration_ms": 60_000}
    spec["requirements"] = {"cpu_milli": 1000, "memory_mib": 128, "disk_mib": 64}
    request = {"name": "empty", "spec": spec, "max_price": 138_888, "max_total": 100_000}
    seen: dict[str, float] = {}
    began = time.monotonic()
    job = client.post("jobs", body=request)["job"]
    with client.stream("jobs", job, "events") as events:
        for event in events:
            seen.setdefault(event["type"], time.monotonic() - began)
            last: dict[str, Any] = event
    if last["type"] != "succeeded":
        raise SystemExit(f"a job of the bench did not succeed: {last}; logs in {folder}")
    return seen


def idle_rows(market: LocalMarket) -> list[tuple[str, str, str]]:
    """Memory and processor share of each node while nothing is sold."""
    pids = {name: ticket.pid for name, ticket in market.processes.tickets().items() if name in market.seats}
    time.sleep(1.0)
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(IDLE_S)
    rows = []
    for name, pid in pids.items():
        share = (cpu_seconds(pid) - before[name]) / IDLE_S
        rows.append((f"idle {name}", f"{resident_mib(pid):.0f} MiB RSS, {share:.1%} of a core", "≤ 200 MiB, ~0 %"))
    return rows


def help_rows() -> list[tuple[str, str, str]]:
    """Processor time of ``cfab --help`` in a fresh interpreter."""
    times = []
    for _ in range(HELP_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "node.cli", "--help"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return [(f"cfab --help, processor time, {HELP_RUNS} runs", spread(times), "≤ 0.10 s")]


def spread(seconds: list[float]) -> str:
    """Median, nine of ten, and worst."""
    ordered = sorted(seconds)
    p90 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
    return f"p50 {statistics.median(ordered):.3f}  p90 {p90:.3f}  max {ordered[-1]:.3f} s"


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def resident_mib(pid: int) -> float:
    """Memory a process holds now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
