"""What reaches the user's terminal. Nothing from a peer, a job or a file is written to it raw: an escape sequence can
rewrite the screen, set the title, or type commands. Into a pipe, job output goes byte for byte.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Sequence

_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reorder text on screen, so that what is read is not what is there."""
_GREEN, _RED, _YELLOW, _DIM, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
MARKS = {"ok": ("✔", _GREEN), "fail": ("✖", _RED), "warn": ("!", _YELLOW), "note": ("·", _DIM)}


def safe(text: object, *, keep_lines: bool = False) -> str:
    """Text with every control, escape and reordering character made visible as ``\\xNN`` or ``<U+NNNN>``.

    Args:
        text: anything; it is turned into text first.
        keep_lines: leave newlines and tabs alone.
    """
    kept = "\n\t" if keep_lines else ""
    return "".join(ch if ch in kept or _is_harmless(ch) else _visible(ch) for ch in str(text))


class JobOutput:
    """Writes a job's output to stdout: raw into a pipe, made harmless for a terminal."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._tty = sys.stdout.isatty()
        self.at_line_start = True

    def write(self, data: bytes) -> None:
        """Write one piece; a character cut in two by the pieces is put together again."""
        if not data:
            return
        if self._tty:
            text = self._decoder.decode(data)
            # \r stays for progress bars: it can only overwrite the job's own line.
            shown = "".join(ch if ch in "\n\t\r" or _is_harmless(ch) else _visible(ch) for ch in text)
            sys.stdout.write(shown)
        else:
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
        self.at_line_start = data.endswith(b"\n")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Left-aligned columns; every cell is made harmless."""
    cells = [list(header), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def mark(kind: str, *, stream: object = None) -> str:
    """The sign in front of a line, in colour where colour is wanted."""
    sign, colour = MARKS[kind]
    return f"{colour}{sign}{_RESET}" if colours(stream) else sign


def dim(text: str, *, stream: object = None) -> str:
    """Text of less weight, where colour is wanted."""
    return f"{_DIM}{text}{_RESET}" if colours(stream) else text


def colours(stream: object = None) -> bool:
    """Whether to colour: on a terminal that can, unless NO_COLOR is set (no-color.org)."""
    target = stream or sys.stderr
    is_tty = getattr(target, "isatty", lambda: False)()
    return bool(is_tty) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def short(identifier: object, length: int = 8) -> str:
    """The start of an id, as people see it; the full one is in ``--json``."""
    return safe(identifier or "-")[:length]


def _is_harmless(ch: str) -> bool:
    code = ord(ch)
    return 0x20 <= code < 0x7F or (code >= 0xA0 and ch not in _BIDI and code not in (0x2028, 0x2029, 0xFEFF))


def _visible(ch: str) -> str:
    return f"\\x{ord(ch):02x}" if ord(ch) < 0xA0 else f"<U+{ord(ch):04X}>"
