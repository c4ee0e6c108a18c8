"""What slither says of the escrow's source, and whether it would say so of an escrow that is broken on purpose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ledger.artifact import load_artifact
from tests.contracts.deep.analysers import analyser
from tests.contracts.deep.places import LIBRARIES, PROJECT, SCRATCH, SOURCES, tools_path
from tests.contracts.deep.report import Row

Change = tuple[str, str, str]
"""File, what stands there, and what takes its place."""

JUDGED: Mapping[tuple[str, str], str] = {
    ("timestamp", "finishExit"): "the window is minutes to days long; a block's time can be off by seconds",
    ("timestamp", "takeStake"): "the wait is hours to weeks long",
    ("timestamp", "_requireRange"): "a deadline in seconds is what the parties signed",
    ("uninitialized-local", "total"): "a sum that starts at zero",
    ("unused-return", "_isSignedBy"): "the third value explains a failure; that it failed is looked at",
}
"""Findings that a person has looked at, by detector and place, and why they are none. Any other one is a surprise."""


class Control(NamedTuple):
    """An escrow broken on purpose, and what slither must say of it."""

    what: str
    changes: Sequence[Change]
    detector: str


CONTROLS = (
    Control(
        "pays a stake out before it is written off, without the guard",
        (
            ("ProviderStake.sol", "function takeStake() external nonReentrant {", "function takeStake() external {"),
            ("ProviderStake.sol", "        delete _stakes[msg.sender];\n", ""),
            (
                "ProviderStake.sol",
                "        _pay(msg.sender, stake.amount);\n",
                "        _pay(msg.sender, stake.amount);\n        delete _stakes[msg.sender];\n",
            ),
        ),
        "reentrancy-no-eth",
    ),
    Control(
        "does not look at the answer of a transfer",
        (("Vault.sol", "token.safeTransfer(to, amount)", "token.transfer(to, amount)"),),
        "unchecked-transfer",
    ),
)


def check() -> list[Row]:
    """A row for the escrow and one for each control."""
    started = time.monotonic()
    findings, unreadable = _analyse("escrow", ())
    serious = {(detector, place) for detector, impact, place in findings if impact in ("High", "Medium", "Low")}
    new, gone = serious - JUDGED.keys(), JUDGED.keys() - serious
    said = [f"{len(serious)} findings, all judged before"] if serious == JUDGED.keys() else []
    said += [f"new: {detector} in {place}" for detector, place in sorted(new)]
    said += [f"judged, but not found any more: {detector} in {place}" for detector, place in sorted(gone)]
    said += [f"could not read {name}" for name in unreadable]
    rows = [Row("slither", "the escrow", "; ".join(said), not (new or gone or unreadable), time.monotonic() - started)]
    for number, control in enumerate(CONTROLS):
        started = time.monotonic()
        found = {detector for detector, _, _ in _analyse(f"control{number}", control.changes)[0]}
        hit = control.detector in found
        said_of_it = f"reported: {control.detector}" if hit else f"{control.detector} was not reported"
        rows.append(Row("slither", f"control: {control.what}", said_of_it, hit, time.monotonic() - started))
    return rows


def _analyse(name: str, changes: Sequence[Change]) -> tuple[list[tuple[str, str, str]], list[str]]:
    folder = SCRATCH / "slither" / name
    shutil.rmtree(folder, ignore_errors=True)
    library = folder / "@openzeppelin"
    # (Copied, not linked: slither takes a file behind a link for another one.)
    shutil.copytree(LIBRARIES / "@openzeppelin" / "contracts", library / "contracts", ignore=_not_solidity)
    shutil.copy(PROJECT / "analysed" / "SafeERC20.sol", library / "contracts" / "token" / "ERC20" / "utils")
    for source in load_artifact("Escrow").sources:
        text = (SOURCES / source).read_text()
        for file, there, instead in changes:
            if file == source:
                assert text.count(there) == 1, f"{name}: {file} is not what it was"
                text = text.replace(there, instead)
        (folder / source).write_text(text)
    environment = os.environ | {"PATH": tools_path()}
    command = [str(analyser("python")), str(PROJECT / "deep" / "slither_script.py"), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=600, check=False, cwd=folder
    )
    if done.returncode != 0:
        raise SystemExit(f"slither failed: {done.stderr.strip()[-2000:]}")
    answer = json.loads(done.stdout[done.stdout.index('{"findings"') :])
    return [(one[0], one[1], one[2]) for one in answer["findings"]], answer["unreadable"]


def _not_solidity(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if "." in name and not name.endswith(".sol")]
