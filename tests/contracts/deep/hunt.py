"""Let the tests loose on each mutant of the escrow, the quick ones first, and say which of them noticed it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.contracts.deep.forge import INVARIANTS, failures, run_forge
from tests.contracts.deep.mutants import QUICK, Mutant, compile_escrows, read_mutants, write_artifact
from tests.contracts.deep.places import ROOT, SCRATCH
from tests.contracts.deep.report import Row

_FAILED = re.compile(r"^(?:FAILED|ERROR) \S+?(?:::(\S+))?(?: - (.*))?$", re.MULTILINE)
_PROPERTIES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "property").glob("test_escrow_*.py"))


class Verdict(NamedTuple):
    """What became of a mutant: the suite that noticed it, or "", and what the suite said."""

    mutant: Mutant
    suite: str
    why: str

    @property
    def word(self) -> str:
        if self.suite:
            return "killed" if not self.mutant.equivalent else "NOT EQUIVALENT"
        return "equivalent" if self.mutant.equivalent else "SURVIVED"

    @property
    def expected(self) -> bool:
        return self.word in ("killed", "equivalent")


def forge_units(artifact: Path) -> str:
    """What the unit and fuzz tests have against an artifact; "" when nothing."""
    return _first(failures(run_forge("--no-match-contract", INVARIANTS, profile="mutants", artifact=artifact)))


def forge_histories(artifact: Path) -> str:
    """What the random histories have against it."""
    return _first(failures(run_forge("--match-contract", INVARIANTS, profile="mutants", artifact=artifact)))


def properties(artifact: Path) -> str:
    """What the Python properties, on the Rust EVM, have against it."""
    plugin = ["-p", "tests.contracts.deep.mutant_plugin", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "--timeout=900", *plugin, *_PROPERTIES]
    environment = os.environ | {"ESCROW_JSON": str(artifact)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=1800, check=False)
    if done.returncode == 0:
        return ""
    found = _FAILED.search(done.stdout)
    return f"{found[1]}: {found[2] or ''}" if found else done.stdout.strip()[-200:]


SUITES: dict[str, Callable[[Path], str]] = {
    "forge tests": forge_units,
    "forge histories": forge_histories,
    "Python properties": properties,
}


def judge(mutants: Sequence[Mutant], suites: Sequence[str] = tuple(SUITES)) -> Iterator[Verdict]:
    """Each mutant's end, as it comes."""
    artifact = SCRATCH / "mutant.json"
    for mutant, code in zip(mutants, compile_escrows(mutants, QUICK), strict=True):
        write_artifact(artifact, code)
        verdict = Verdict(mutant, "", mutant.equivalent)
        for suite in suites:
            why = SUITES[suite](artifact)
            if why:
                verdict = Verdict(mutant, suite, why)
                break
        yield verdict


def check(suites: Sequence[str] = tuple(SUITES), pattern: str = "") -> list[Row]:
    """A row for the unchanged escrow, one for each mutant that is not simply dead, and one for the count."""
    started = time.monotonic()
    mutants = [mutant for mutant in read_mutants() if re.search(pattern, f"{mutant.place}: {mutant.name}")]
    rows = [_unchanged(suites)]
    counts: Counter[str] = Counter()
    for verdict in judge(mutants, suites):
        line = f"{verdict.word:10} {verdict.mutant.place}: {verdict.mutant.name}"
        print(f"{line} | {verdict.suite} | {' '.join(verdict.why.split())[:160]}", flush=True)
        counts[verdict.suite or verdict.word] += 1
        if not verdict.suite or not verdict.expected:
            what = f"{verdict.mutant.place}: {verdict.mutant.name}"
            rows.append(Row("mutants", what, f"{verdict.word}: {verdict.why}", verdict.expected))
    dead = sum(counts[suite] for suite in SUITES)
    by_suite = ", ".join(f"{counts[suite]} by {suite}" for suite in SUITES if counts[suite])
    found = f"{dead} killed ({by_suite}), {counts['equivalent']} equivalent, {counts['SURVIVED']} survived"
    rows.append(Row("mutants", f"{len(mutants)} in all", found, not counts["SURVIVED"], time.monotonic() - started))
    return rows


def _unchanged(suites: Sequence[str]) -> Row:
    artifact = SCRATCH / "unchanged.json"
    started = time.monotonic()
    write_artifact(artifact, next(compile_escrows([None], QUICK)))
    against = [f"{suite}: {why}" for suite in suites if (why := SUITES[suite](artifact))]
    found = "; ".join(against) or "passes all suites, compiled as the mutants are"
    return Row("mutants", "control: no fault", found, not against, time.monotonic() - started)


def _first(lines: Sequence[str]) -> str:
    return lines[0] if lines else ""
