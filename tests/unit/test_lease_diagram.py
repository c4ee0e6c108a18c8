"""The picture of a lease's life is drawn from the table, and the one in ARCHITECTURE.md is that picture."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from market.lease import OVER, TABLE, Stage

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "lease_diagram.py"))


def test_the_document_shows_the_table(tool: dict[str, Any]):
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert text == tool["with_diagram"](text), "run: python tools/lease_diagram.py"


def test_the_diagram_has_every_arrow_of_the_table_and_no_other(tool: dict[str, Any]):
    drawn = set()
    for stage, following, facts in re.findall(r"^    (\w+) --> (\w+): (.+)$", tool["diagram"](), re.MULTILINE):
        drawn |= {(Stage[stage], fact, Stage[following]) for fact in facts.split("<br>")}
    table = {
        (stage, fact.__name__, following)
        for stage, entries in TABLE.items()
        for fact, following in entries.items()
        if following is not stage
    }
    assert drawn == table


def test_the_ends_are_drawn_as_ends(tool: dict[str, Any]):
    ends = re.findall(r"^    (\w+) --> \[\*\]$", tool["diagram"](), re.MULTILINE)
    assert {Stage[name] for name in ends} == OVER


def test_a_document_without_the_place_is_refused(tool: dict[str, Any]):
    with pytest.raises(ValueError, match="substring"):
        tool["with_diagram"]("no marks here")
