"""What ``make help`` says of the measured tables is what there is."""

from __future__ import annotations

from pathlib import Path

from tests.bench.__main__ import TABLES

ROOT = Path(__file__).parents[2]


def test_every_table_is_named():
    (line,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("bench:")]
    named = line.partition("asserted: ")[2].partition(" (")[0].split(", ")
    assert named == list(TABLES)
