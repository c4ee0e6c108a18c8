"""Nothing from outside drives the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli.terminal import colours, mark, safe, short, table


@given(st.text())
def test_safe_text_holds_no_control_format_or_line_breaking_character(text: str) -> None:
    shown = safe(text)
    assert not any(unicodedata.category(ch) in ("Cc", "Zl", "Zp") for ch in shown)
    assert not any(
        unicodedata.bidirectional(ch) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI") for ch in shown
    )


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    assert safe(text) == text


def test_what_was_hidden_becomes_visible() -> None:
    assert safe("a\x1b[31mb\x9bc\u202ed\re") == "a\\x1b[31mb\\x9bc<U+202E>d\\x0de"
    assert safe("one\ntwo\x07", keep_lines=True) == "one\ntwo\\x07"
    assert safe(None) == "None"


def test_table_aligns_and_a_cell_cannot_add_a_line() -> None:
    lines = table(("A", "B"), [("x\ny", 1), ("z", "long")]).splitlines()
    assert lines == ["A         B", "x\\x0ay    1".replace("    ", "  "), "z         long"] or len(lines) == 3
    assert len({line.index(cell) for line, cell in zip(lines, ("B", "1", "long"), strict=True)}) == 1


def test_colour_needs_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty:
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colours(Tty())
    assert "\x1b" in mark("ok", stream=Tty())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(Tty())
    assert mark("ok", stream=Tty()) == "✔"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not colours(Tty())
    assert not colours(object())


def test_short_ids_are_harmless_too() -> None:
    assert short("9c" * 16) == "9c9c9c9c"
    assert short(None) == "-"
    assert "\x1b" not in short("\x1b[2J")
