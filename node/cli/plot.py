"""Bars, as text for a terminal and as an SVG file. Nothing to install for it, and nothing that a page would run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from node.cli.terminal import safe

_WIDTH, _LABEL, _BAR, _ROW, _GAP = 640, 170, 380, 22, 34
_FILL, _INK, _FAINT = "#2f6f9f", "#1c2733", "#e3e8ed"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Bar(NamedTuple):
    """One bar: ``value`` from 0 to the chart's ``full``; ``text`` stands behind it."""

    label: str
    value: float
    text: str


class Chart(NamedTuple):
    """Some bars on one scale."""

    title: str
    bars: tuple[Bar, ...]
    full: float = 1.0


def as_text(charts: Sequence[Chart], width: int = 40) -> str:
    """The charts one under the other, ``width`` characters for a full bar."""
    lines = []
    for chart in charts:
        longest = max((len(bar.label) for bar in chart.bars), default=0)
        lines += ["", safe(chart.title)]
        for bar in chart.bars:
            lines.append(f"  {safe(bar.label):<{longest}}  {_blocks(_part(bar, chart), width)}  {safe(bar.text)}")
    return "\n".join(lines[1:])


def as_svg(charts: Sequence[Chart]) -> str:
    """The charts one under the other as one picture."""
    parts, top = [], 0
    for chart in charts:
        top += _GAP
        parts.append(f'<text x="12" y="{top - 10}" font-weight="bold">{escape(chart.title)}</text>')
        for bar in chart.bars:
            filled = round(_BAR * _part(bar, chart), 1)
            parts += [
                f'<text x="{_LABEL - 8}" y="{top + 14}" text-anchor="end">{escape(bar.label)}</text>',
                f'<rect x="{_LABEL}" y="{top + 3}" width="{_BAR}" height="14" fill="{_FAINT}"/>',
                f'<rect class="bar" x="{_LABEL}" y="{top + 3}" width="{filled}" height="14" fill="{_FILL}"/>',
                f'<text x="{_LABEL + _BAR + 8}" y="{top + 14}">{escape(bar.text)}</text>',
            ]
            top += _ROW
    height = top + 16
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}"'
    return "\n".join([f"{head} {style}>", '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>", ""])


def _part(bar: Bar, chart: Chart) -> float:
    return min(1.0, max(0.0, bar.value / chart.full)) if chart.full > 0 else 0.0


def _blocks(part: float, width: int) -> str:
    """A bar in eighths of a character."""
    whole, eighths = divmod(round(part * width * 8), 8)
    return ("█" * whole + (_EIGHTHS[eighths] if eighths else "")).ljust(width, "·")
