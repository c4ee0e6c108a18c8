"""What halmos proves of the shipped code for every input, and that it would not prove it of broken code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping

from ledger.artifact import load_artifact
from tests.contracts.deep.analysers import analyser
from tests.contracts.deep.mutants import compile_escrows, read_mutants
from tests.contracts.deep.places import PROJECT, SCRATCH, SOLC, tools_path
from tests.contracts.deep.report import Row

CONTROL = "check_control_"
"""Statements that begin so are false on purpose: a proof of one would mean that nothing here is proven."""

REFUTED_BY: Mapping[str, str] = {
    "check_any_row_pays_what_it_claims_once": "a draw is credited twice",
    "check_an_exit_ends_at_its_time_and_pays_everything": "an exit before its time",
    "check_a_close_moves_exactly_what_it_says": "the payer gets the whole balance",
    "check_a_release_gives_back_what_is_above": "a release pays a unit less",
    "check_a_delay_only_grows": "a delay shrinks while money is held",
    "check_a_slash_takes_half_and_burns_most": "the whole stake is taken",
}
"""For each statement a fault of ``mutants.toml`` that makes it false: halmos must find a counterexample."""

_PROVEN, _REFUTED = 0, 1


def check() -> list[Row]:
    """A row for each statement of the shipped code, and one for each of them of broken code."""
    started = time.monotonic()
    endings = _run(load_artifact("Escrow").bytecode, "check_")
    took = time.monotonic() - started
    rows = [Row("halmos", _plain(name), *_judged(name, end)) for name, end in sorted(endings.items())]
    unproven = REFUTED_BY.keys() - endings.keys()
    rows.append(Row("halmos", f"{len(endings)} statements", f"{len(unproven)} missing", not unproven, took))
    faults = {mutant.name: mutant for mutant in read_mutants()}
    broken = compile_escrows([faults[fault] for fault in REFUTED_BY.values()])
    for (statement, fault), code in zip(REFUTED_BY.items(), broken, strict=True):
        started = time.monotonic()
        end = _run(code, statement).get(statement)
        found = "counterexample found" if end == _REFUTED else f"no counterexample (halmos ended with {end})"
        what = f"control: {_plain(statement)}, when {fault}"
        rows.append(Row("halmos", what, found, end == _REFUTED, time.monotonic() - started))
    return rows


def _judged(name: str, end: int) -> tuple[str, bool]:
    words = {_PROVEN: "proven", _REFUTED: "counterexample found"}
    return words.get(end, f"undecided ({end})"), end == (_REFUTED if name.startswith(CONTROL) else _PROVEN)


def _plain(name: str) -> str:
    told = "control, denying that " if name.startswith(CONTROL) else ""
    return told + name.removeprefix(CONTROL).removeprefix("check_").replace("_", " ")


def _run(escrow: bytes, function: str) -> dict[str, int]:
    """How halmos ended for each statement whose name begins with ``function``, of this code."""
    folder = SCRATCH / "halmos"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "test").mkdir(parents=True)
    shutil.copy(PROJECT / "symbolic" / "foundry.toml", folder)
    shutil.copy(PROJECT / "symbolic" / "CheckEscrow.t.sol", folder / "test")
    shutil.copy(PROJECT / "test" / "Escrow.sol", folder / "test")
    codes = {"ESCROW_CODE": escrow, "TOKEN_CODE": load_artifact("TestToken").bytecode}
    lines = [f'bytes constant {name} = hex"{code.hex()}";' for name, code in codes.items()]
    head = "// SPDX-License-Identifier: MIT\npragma solidity ^0.8.28;\n"
    (folder / "test" / "Code.sol").write_text(head + "\n".join(lines) + "\n")
    environment = os.environ | {"PATH": tools_path(), "FOUNDRY_SOLC": str(SOLC)}
    command = [str(analyser("halmos")), "--contract", "CheckEscrow", "--function", function]
    command += ["--json-output", "ended.json", "--solver-timeout-assertion", "120000"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=900, check=False
    )
    ended = folder / "ended.json"
    if not ended.exists():
        raise SystemExit(f"halmos failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    suites = json.loads(ended.read_text())["test_results"].values()
    return {one["name"].partition("(")[0]: one["exitcode"] for suite in suites for one in suite}
