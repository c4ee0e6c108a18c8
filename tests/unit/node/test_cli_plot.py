"""Bars in a terminal and in a picture: as long as their values, and harmless."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from node.cli.plot import Bar, Chart, as_svg, as_text

SVG = "{http://www.w3.org/2000/svg}"
CHART = Chart("shares", (Bar("all", 1.0, "100%"), Bar("half", 0.5, "50%"), Bar("none", 0.0, "0%")))


def bars_of(svg: str) -> list[float]:
    root = ElementTree.fromstring(svg)
    return [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect") if bar.attrib.get("class") == "bar"]


def test_bars_are_as_long_as_their_values() -> None:
    lines = as_text([CHART], width=8).splitlines()
    assert lines == ["shares", "  all   ████████  100%", "  half  ████····  50%", "  none  ········  0%"]
    full, half, none = bars_of(as_svg([CHART]))
    assert (half, none) == (full / 2, 0)


def test_another_scale() -> None:
    chart = Chart("hours", (Bar("a", 3, "3 h"), Bar("too long", 9, "9 h")), full=6)
    half, full = bars_of(as_svg([chart]))
    assert half == full / 2


def test_every_chart_has_its_place() -> None:
    root = ElementTree.fromstring(as_svg([CHART, CHART]))
    tops = [float(bar.attrib["y"]) for bar in root.iter(f"{SVG}rect") if bar.attrib.get("class") == "bar"]
    assert tops == sorted(set(tops))
    assert max(tops) < float(root.attrib["height"])
    assert len(as_text([CHART, CHART]).splitlines()) == 9


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20))
def test_words_are_only_words(text: str) -> None:
    root = ElementTree.fromstring(as_svg([Chart("t", (Bar("<script>&", 1, "x"), Bar("b", 1, "y")))]))
    assert [one.text for one in root.iter(f"{SVG}text")] == ["t", "<script>&", "x", "b", "y"]
    assert len(as_text([Chart(text, (Bar(text, 0.3, text),))], width=4).splitlines()) == 2


def test_no_bars_are_no_fault() -> None:
    assert as_text([Chart("empty", ())]) == "empty"
    assert bars_of(as_svg([Chart("empty", ())])) == []
