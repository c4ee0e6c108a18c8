"""Write the reference of everything that ``--json`` prints from the types in the code, so that it cannot differ.

python tools/json_reference.py            write docs/json.md
python tools/json_reference.py --check    write nothing; fail when what is there differs
"""

from __future__ import annotations

import inspect
import sys
import types
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from node.cli.shapes import EXTRA, PRINTED, Lines  # noqa: E402 - a script finds the packages beside it, installed or not
from node.job_events import EVENTS  # noqa: E402

DOCUMENT = ROOT / "docs" / "json.md"
_WORDS = {str: "text", int: "number", float: "number", bool: "true/false", type(None): "null", Any: "anything"}
_INTRODUCTION = """\
# What `--json` prints

<!-- Written by tools/json_reference.py from node/control_shapes.py, node/job_events.py and node/cli/shapes.py. -->

Every command takes `--json`: data and errors go to stdout as JSON, nothing else does. Ids are full hex, times RFC 3339
in UTC, and money is a `Money`. Fields and event types are only ever added: skip what you do not know. A command that
fails prints an `ErrorAnswer` and ends with the exit code that `cfab --help` lists. "One object per line" is
newline-delimited JSON that can be read while it grows.
"""


def reference() -> str:
    """The whole document."""
    return "\n".join([_INTRODUCTION, *_commands(), *_events(), *_shapes()])


def _commands() -> list[str]:
    lines = ["## Commands", "", "| Command | Prints | |", "|---|---|---|"]
    for name, (shape, remark) in PRINTED.items():
        if shape is Lines:
            printed = "[events](#events), one object per line, with `LogLine` between them"
        else:
            printed = "-" if shape is None else _type(shape)
        lines.append(f"| `cfab {name}` | {printed} | {remark} |")
    return [*lines, ""]


def _events() -> list[str]:
    lines = [
        "## Events",
        "",
        "Of each job, by `cfab run`, `cfab submit` and the node's API. Each has `seq` (number, dense from 1), `time`"
        " and `type`; after `succeeded`, `failed` or `cancelled` nothing follows.",
        "",
    ]
    for name, shape in EVENTS.items():
        lines += [f"### {name}", "", *_body(shape)]
    return lines


def _shapes() -> list[str]:
    lines = ["## Shapes", ""]
    for shape in sorted(_reachable(), key=lambda one: str(one.__name__)):
        lines += [f"### {shape.__name__}", "", *_body(shape)]
    return lines


def _body(shape: Any) -> list[str]:
    words = " ".join((inspect.getdoc(shape) or "").replace("``", "`").split())
    fields = [f"* `{name}`: {_type(kind)}" for name, kind in get_type_hints(shape).items()]
    return [words, "", *fields, ""] if fields else [words, ""]


def _reachable() -> set[Any]:
    """Every named shape that something printed is made of."""
    found: set[Any] = set()
    roots = [shape for shape, _ in PRINTED.values() if shape is not Lines]
    roots += [kind for event in EVENTS.values() for kind in get_type_hints(event).values()]
    waiting = [*roots, *EXTRA]
    while waiting:
        kind = waiting.pop()
        if is_typeddict(kind):
            if kind not in found:
                found.add(kind)
                waiting += get_type_hints(kind).values()
        else:
            waiting += get_args(kind)
    return found


def _type(kind: Any) -> str:
    if is_typeddict(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if get_origin(kind) is list:
        return f"list of {_type(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return f"object of {_type(get_args(kind)[1])} by name"
    if isinstance(kind, types.UnionType):
        return " or ".join(_type(one) for one in get_args(kind))
    return _WORDS[kind]


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(DOCUMENT.read_text(encoding="utf-8") != reference())
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(reference(), encoding="utf-8")
