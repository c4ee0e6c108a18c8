"""Run the Foundry project against the shipped escrow, or against another artifact of it, and read what came of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from tests.contracts.deep.places import FORGE, PROJECT

INVARIANTS = "InvariantsTest"
"""The contract of the long random histories; all others together take a few seconds."""


class ForgeTest(NamedTuple):
    """How one test ended. ``runs`` counts a fuzz test's cases or an invariant's histories, and ``calls`` the steps in
    them; a failed test's ``reason`` is what it said."""

    name: str
    passed: bool
    reason: str
    runs: int
    calls: int


class ForgeFailure(Exception):
    """forge is not there, or could not compile or run the tests at all; the message is its own."""


def run_forge(
    *words: str, profile: str = "default", artifact: Path | None = None, seed: int | None = None, timeout_s: int = 1800
) -> list[ForgeTest]:
    """Run the tests chosen by ``words`` (as ``--match-contract X``) and return how each ended.

    Raises:
        ForgeFailure: there is no outcome to speak of.
    """
    if not FORGE.exists():
        raise ForgeFailure("forge is not installed; run: npm ci --prefix tools/npm")
    environment = os.environ | {"FOUNDRY_PROFILE": profile}
    if artifact is not None:
        environment["ESCROW_JSON"] = str(artifact)
    if seed is not None:
        environment["FOUNDRY_FUZZ_SEED"] = hex(seed)
    command = [str(FORGE), "test", "--root", str(PROJECT), "--json", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=timeout_s, check=False, cwd=PROJECT
    )
    try:
        suites = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise ForgeFailure(f"forge failed: {(done.stderr or done.stdout).strip()[-2000:]}") from None
    return [_outcome(name, raw) for suite in suites.values() for name, raw in suite["test_results"].items()]


def failures(tests: list[ForgeTest]) -> list[str]:
    """A line for each test that failed."""
    return [f"{test.name}: {test.reason}" for test in tests if not test.passed]


def _outcome(name: str, raw: dict[str, Any]) -> ForgeTest:
    kind = raw["kind"].get("Fuzz") or raw["kind"].get("Invariant") or {}
    return ForgeTest(
        name=name.partition("(")[0],
        passed=raw["status"] == "Success",
        reason=raw["reason"] or "",
        runs=kind.get("runs", 1),
        calls=kind.get("calls", 0),
    )
