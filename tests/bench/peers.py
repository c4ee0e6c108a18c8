"""``make bench-peers``: our matching beside a published scheduler's, in one run, on one core, with what each decides.

    python -m tests.bench.peers [RUNS]

Builds the real crate ``forge-orchestration`` with cargo, from the public registry, in a folder outside this repository
(``$XDG_CACHE_HOME/computefabric/bench-peers``), and runs the crate's own example ``benchmark_optimized`` in turn with
the same workload on our indexes, all on one pinned core; each figure is the median of RUNS. The first build takes some
minutes. The figures depend on the machine; what is printed beside them does not.

Rates are per second of processor time, so that what else runs on the core slows neither side. The example goes by the
clock on the wall: what it prints is shown too, and agrees on a machine that does nothing else. Threads that wait for a
core that is busy elsewhere cost processor time: of the two the higher figure counts for the peer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from market.native_index import AVAILABLE, NativeIndex
from market.offer_index import OfferIndex
from tests.bench import forge_shape
from tests.bench.forge_shape import Engine

ROOT = Path(__file__).parents[2]
CRATE, VERSIONS, EXAMPLE = "forge-orchestration", ("0.4.2", "0.6.0"), "benchmark_optimized"
SIZES = (100, 500, 1_000, 5_000)
ROUNDS, NATIVE_ROUNDS = 300, 2_000
PRINTED = ", as its example prints it"
WHAT = {
    "Standard": "float score, committed and never released: most calls find the nodes full",
    "Optimized": "best fit on CPU and memory; nothing is committed, so all get the same node",
    "Batch": "best fit on CPU and memory; committed in a copy that is thrown away after 100",
    "Commit": "best fit on CPU and memory; committed and released (its own call, our loop)",
    "pure Python": "cheapest of all that fit, every constraint looked at; committed, released after 100",
    "pure Python, batch": "the same, 100 decisions one call",
    "native, one call each": "the same in C, each decision one Python call; bids packed before, as theirs are",
    "native, batch": "the same in C, 100 decisions one Python call",
}
WANTED = (
    ("pure Python", "Optimized", (1, 1, 1, 1)),
    ("pure Python, batch", "Batch", (None, None, 1, 1)),
    ("native, batch", "Batch", (2.5, 10, 20, 80)),
)
"""Ours, a column of version 0.4.2, and how many times it, at each size."""


class Figure(NamedTuple):
    """A rate, and the share of the decisions that placed something."""

    rate: float
    share: float


Figures = dict[tuple[str, int], Figure]


class Peer(NamedTuple):
    """A version of the crate, built."""

    version: str
    folder: Path

    def example(self) -> Iterator[tuple[str, int, float]]:
        """What its own example prints: column, nodes and decisions per second."""
        nodes = 0
        for line in _run(self.folder, str(self.folder / "target/release/examples" / EXAMPLE)).splitlines():
            if size := re.search(r"(\d+) nodes:", line):
                nodes = int(size[1])
            elif found := re.search(r"Forge (\w+): +(\d+) decisions/sec", line):
                yield found[1], nodes, float(found[2])

    def figures(self) -> Figures:
        """One run of the same calls by the processor's clock, and one of the example."""
        figures = {}
        for line in _run(self.folder, str(self.folder / "target/release/peer")).splitlines():
            nodes, column, placed, decisions, _, seconds = line.split()
            share = int(placed) / int(decisions)
            figures[column, int(nodes)] = Figure(int(decisions) / float(seconds), share)
        for column, size, rate in self.example():
            figures[column + PRINTED, size] = Figure(rate, figures[column, size].share)
        return figures


def main(runs: int) -> None:
    """Build, measure in turn, print."""
    cargo = find_cargo()
    folder = scratch_folder()
    peers = [build(cargo, folder, version) for version in VERSIONS]
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    held: dict[str, list[Figures]] = {name: [] for name in (*VERSIONS, "ours")}
    for _ in range(runs):
        for peer in peers:
            held[peer.version].append(peer.figures())
            held["ours"].append(our_figures())
    figures = {name: median(found) for name, found in held.items()}
    print(f"{_processor_name()}, core {core}, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    print(
        f"decisions per second of processor time, median of {runs} runs in turn; share of them that placed something\n"
    )
    print_table([(f"{CRATE} {name}" if name in VERSIONS else name, found) for name, found in figures.items()])
    print_wanted(figures["ours"], figures[VERSIONS[0]])


def find_cargo() -> str:
    """The cargo program.

    Raises:
        SystemExit: there is none, with how to get it.
    """
    found = shutil.which("cargo") or shutil.which("cargo", path=Path.home() / ".cargo/bin")
    if found is None:
        raise SystemExit(
            "cargo is missing: it builds the peer. Install it from https://rustup.rs, or 'apt install cargo'"
        )
    return found


def scratch_folder() -> Path:
    """Where the peer is built: never inside the repository."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (cache / "computefabric" / "bench-peers").resolve()
    if folder.is_relative_to(ROOT):
        raise SystemExit(f"{folder} is inside the repository; set XDG_CACHE_HOME to a folder outside")
    return folder


def build(cargo: str, folder: Path, version: str) -> Peer:
    """Build one version, its example and our count of what it places."""
    peer = Peer(version, folder / version)
    (peer.folder / "src").mkdir(parents=True, exist_ok=True)
    (peer.folder / "examples").mkdir(exist_ok=True)
    (peer.folder / "Cargo.toml").write_text(
        '[package]\nname = "peer"\nversion = "0.0.0"\nedition = "2021"\n\n[features]\nbind = []\n\n[workspace]\n\n'
        f'[dependencies]\n{CRATE} = "={version}"\n'
    )
    shutil.copyfile(Path(__file__).with_name("peer_shares.rs"), peer.folder / "src" / "main.rs")
    print(f"building {CRATE} {version} in {peer.folder}", file=sys.stderr)
    described = json.loads(_run(peer.folder, cargo, "metadata", "--format-version", "1"))
    source = next(Path(one["manifest_path"]).parent for one in described["packages"] if one["name"] == CRATE)
    shutil.copyfile(source / "examples" / f"{EXAMPLE}.rs", peer.folder / "examples" / f"{EXAMPLE}.rs")
    _run(peer.folder, cargo, "build", "--release", "--example", EXAMPLE)
    has_commit = "fn schedule_fast_commit" in (source / "src" / "scheduler" / "optimized.rs").read_text()
    _run(peer.folder, cargo, "build", "--release", *(["--features", "bind"] if has_commit else []))
    return peer


def our_figures() -> Figures:
    """One run of our side.

    Raises:
        SystemExit: a placement is wrong.
    """
    figures = {}
    for name, engine in engines().items():
        for size in SIZES:
            world = forge_shape.shape(size)
            rates = forge_shape.measure(engine, world)
            if wrong := forge_shape.faults(world, rates.placed):
                raise SystemExit(f"{name} at {size} nodes: {wrong[0]}, and {len(wrong) - 1} more faults")
            served = sum(handle >= 0 for handle in rates.placed) / len(rates.placed)
            figures[name, size] = Figure(rates.committed, served)
            figures[f"{name}, release timed too", size] = Figure(rates.released, served)
    return figures


def engines() -> dict[str, Engine]:
    """Our indexes that are there, by name."""
    pure = Engine(OfferIndex, forge_shape.as_it_is, forge_shape.one_by_one, ROUNDS)
    found = {"pure Python": pure, "pure Python, batch": pure._replace(match=forge_shape.all_at_once)}
    if not AVAILABLE:
        return found
    single = Engine(NativeIndex, NativeIndex.pack, forge_shape.one_by_one, NATIVE_ROUNDS)
    batch = single._replace(match=forge_shape.all_at_once)
    return found | {"native, one call each": single, "native, batch": batch}


def median(runs: list[Figures]) -> Figures:
    """The middle rate of each."""
    return {name: sorted(run[name] for run in runs)[len(runs) // 2] for name in runs[0]}


def print_table(parts: list[tuple[str, Figures]]) -> None:
    """Every figure, and what a decision of its line is."""
    for title, figures in parts:
        print(f"{title:<46}" + "".join(f"{f'{size:,} nodes':>20}" for size in SIZES))
        for name in dict.fromkeys(name for name, _ in figures):
            cells = "".join(
                f"{f'{figures[name, size].rate:,.0f}  {figures[name, size].share:>4.0%}':>20}" for size in SIZES
            )
            print(f"  {name:<44}{cells}")
            if name in WHAT:
                print(f"      {WHAT[name]}")
        print()


def print_wanted(ours: Figures, theirs: Figures) -> None:
    """What is wanted of us beside the older version, and whether this run has it."""
    for name, column, factors in WANTED:
        line = f"wanted: {name} against {VERSIONS[0]} {column}: "
        if (name, SIZES[0]) not in ours:
            print(line + "not built")
            continue
        cells = []
        for size, factor in zip(SIZES, factors, strict=True):
            times = ours[name, size].rate / max(theirs[column, size].rate, theirs[column + PRINTED, size].rate)
            verdict = "" if factor is None else f" (≥ {factor:g}: {'met' if times >= factor else 'MISSED'})"
            cells.append(f"{size:,}: {times:.2f} times{verdict}")
        print(line + ", ".join(cells))


def _run(folder: Path, *command: str) -> str:
    """The command's stdout; what it says on stderr when it fails goes to ours."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stderr[-4000:]}\n'{' '.join(command)}' failed in {folder}")
    return done.stdout


def _processor_name() -> str:
    named = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return named[1] if named else "a processor without a name"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
