"""The checks of the escrow that take minutes: ``python -m tests.contracts.deep [PART...]``, or all of them.

    forge     the Foundry project with long histories, many cases and a new seed (--seed N repeats a run)
    slither   static analysis of the source, with two escrows broken on purpose
    halmos    proofs about the shipped code, with a broken escrow for each
    mutants   every fault of mutants.toml put in, one at a time (--only REGEX chooses some by place and name)

Prints one table at the end and writes it to .deep/report.txt. The exit status is 1 when anything is not as it must be.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

from tests.contracts.deep import halmos_proofs, hunt, slither_checks
from tests.contracts.deep.forge import INVARIANTS, failures, run_forge
from tests.contracts.deep.places import SCRATCH
from tests.contracts.deep.report import Row, table

HISTORIES, LENGTH = 512, 128


def forge_checks(seed: int) -> list[Row]:
    """A row for the tests of single calls and one for the histories."""
    rows = []
    for words in (("--no-match-contract", INVARIANTS), ("--match-contract", INVARIANTS)):
        started = time.monotonic()
        tests = run_forge(*words, profile="deep", seed=seed)
        failed, calls = failures(tests), sum(test.calls for test in tests)
        histories = words[0] == "--match-contract"
        ran = f"{calls} steps in {HISTORIES} histories" if histories else f"{sum(test.runs for test in tests)} cases"
        complete = calls == HISTORIES * LENGTH if histories else len(tests) > 0
        what = f"{'random histories' if histories else f'{len(tests)} tests of calls'}, seed {seed}"
        found = "; ".join(failed) or ran
        rows.append(Row("forge", what, found, complete and not failed, time.monotonic() - started))
    return rows


def main() -> int:
    """Run the parts that were asked for; the process's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**32))
    parser.add_argument("--only", default="", metavar="REGEX")
    chosen = parser.parse_args()
    parts: dict[str, Callable[[], list[Row]]] = {
        "forge": lambda: forge_checks(chosen.seed),
        "slither": slither_checks.check,
        "halmos": halmos_proofs.check,
        "mutants": lambda: hunt.check(pattern=chosen.only),
    }
    for name in chosen.parts:
        if name not in parts:
            parser.error(f"there is no part '{name}', only {', '.join(parts)}")
    rows: list[Row] = []
    for name, check in parts.items():
        if not chosen.parts or name in chosen.parts:
            print(f"{name} ...", file=sys.stderr, flush=True)
            rows += check()
    report = table(rows)
    (SCRATCH / "report.txt").write_text(report + "\n")
    print(f"\n{report}")
    return 0 if all(row.expected for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
