"""What the deep checks found, as one table, and whether any of it was a surprise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One thing that was looked at. ``expected`` is false when it did not come out as it must; ``took_s`` is 0 where it
    was part of another row's work."""

    part: str
    what: str
    found: str
    expected: bool
    took_s: float = 0.0


def table(rows: Sequence[Row]) -> str:
    """The rows in columns, with the verdict below."""
    head = ("", "part", "what", "found", "s")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    text = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[4].rjust(6)]).rstrip()
        for line in lines
    ]
    surprises = sum(not row.expected for row in rows)
    verdict = "all as it must be" if not surprises else f"{surprises} of {len(rows)} did not come out as they must"
    return "\n".join([*text, "", verdict])


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    took = f"{row.took_s:.0f}" if row.took_s else ""
    return ("ok" if row.expected else "NO", row.part, row.what, row.found, took)
