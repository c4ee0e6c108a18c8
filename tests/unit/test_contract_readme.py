"""What the escrow's README names is there: every call, every invariant, every attack and the test that answers it."""

from __future__ import annotations

import re
from pathlib import Path

from ledger.artifact import load_artifact

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ledger" / "contracts" / "README.md").read_text(encoding="utf-8")


def test_every_function_of_the_contract_is_told() -> None:
    functions = {entry["name"] for entry in load_artifact("Escrow").abi if entry["type"] == "function"}
    assert {name for name in functions if not re.search(rf"`{name}[(`]", TEXT)} == set()


def test_every_invariant_and_attack_is_told_once() -> None:
    assert re.findall(r"^\| (I\d+) \|", TEXT, re.MULTILINE) == [f"I{n}" for n in range(1, 15)]
    assert re.findall(r"^\| (A\d+) \|", TEXT, re.MULTILINE) == [f"A{n}" for n in range(1, 21)]


def test_every_attack_names_a_test_that_exists() -> None:
    for line in re.findall(r"^\| A\d+ \|.*$", TEXT, re.MULTILINE):
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)
        assert named, line
        for path, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), test


def test_every_invariant_is_checked_by_its_number() -> None:
    checks = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/property").glob("test_escrow_*.py"))
    assert [f"I{n}" for n in range(1, 15) if not re.search(rf"\bI{n}\b", checks)] == []
