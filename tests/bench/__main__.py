"""``make bench``: the tables of measured figures. Nothing here is asserted.

    python -m tests.bench [TABLE [ARGUMENTS …]]

All of them without a name. The figures depend on the machine and on what else it does.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any


def _module(name: str) -> Any:
    """Imported when its table is printed: some need what others do not."""
    return importlib.import_module(f"tests.bench.{name}")


TABLES: dict[str, Callable[[Sequence[str]], None]] = {
    "matching": lambda words: _module("matching").main(words),
    "shortlist": lambda words: _module("shortlists").main(words),
    "intake": lambda words: _module("intake").main(int(words[0]) if words else 4096),
    "late-joiner": lambda words: _module("late_joiner").main([int(word) for word in words] or [1000, 2000, 5000]),
    "first-try": lambda words: _module("first_try").main(words),
    "money": lambda words: _module("money").main(words),
    "nodes": lambda words: _module("nodes").main(words),
}
"""Every table by its name."""
LONG: dict[str, Callable[[Sequence[str]], None]] = {"fuzz": lambda words: _module("fuzz").main(words)}
"""What takes minutes and measures nothing: only by its name."""


def main(words: Sequence[str]) -> None:
    """Print one table with its arguments, or all of them.

    Raises:
        SystemExit: there is no such table.
    """
    known = {**TABLES, **LONG}
    if words and words[0] not in known:
        raise SystemExit(f"no table '{words[0]}'; there are {', '.join(known)}")
    for name in words[:1] or TABLES:
        print(f"== {name}\n")
        known[name](words[1:])
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
