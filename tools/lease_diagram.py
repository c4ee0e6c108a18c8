"""Draw the life of a lease from its table, so that the picture in ARCHITECTURE.md cannot differ from the code.

    python tools/lease_diagram.py            write the picture into ARCHITECTURE.md
    python tools/lease_diagram.py --check    write nothing; fail when the picture there is another one

Facts that lead from one stage to the same next one share an arrow. Those that leave the stage as it is are not drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from market.lease import OVER, TABLE, Stage  # noqa: E402 - a script finds the packages beside it, installed or not

DOCUMENT = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- lease-diagram -->\n", "<!-- /lease-diagram -->"


def diagram() -> str:
    """The table as a Mermaid state diagram, in the order of the stages."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Stage.GRANTED.name}"]
    for stage in Stage:
        arrows: dict[Stage, list[str]] = {}
        for fact, following in TABLE[stage].items():
            if following is not stage:
                arrows.setdefault(following, []).append(fact.__name__)
        lines += [f"    {stage.name} --> {following.name}: {'<br>'.join(facts)}" for following, facts in arrows.items()]
    lines += [f"    {stage.name} --> [*]" for stage in Stage if stage in OVER]
    return "\n".join([*lines, "```", ""])


def with_diagram(text: str) -> str:
    """A document with what stands between the two marks replaced by the diagram.

    Raises:
        ValueError: the document has no such place.
    """
    begin = text.index(BEGIN) + len(BEGIN)
    return text[:begin] + diagram() + text[text.index(END, begin) :]


def main(words: list[str]) -> int:
    """Write or check the picture; the process's exit status."""
    text = DOCUMENT.read_text(encoding="utf-8")
    if words == ["--check"]:
        if text != with_diagram(text):
            sys.stderr.write("the lease diagram is not the table's; run tools/lease_diagram.py\n")
            return 1
        return 0
    DOCUMENT.write_text(with_diagram(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
