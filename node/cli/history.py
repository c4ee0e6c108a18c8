"""``cfab history``: what a GPU model cost over the last days."""

from __future__ import annotations

from typing import Any

import click

from node.cli.amounts import price
from node.cli.failures import Usage
from node.cli.look import look, show
from node.cli.options import LookCommand, current_session
from node.cli.terminal import table
from node.cli.typed_value import read_value

_WIDTH = 24
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_FARTHEST_MS = 14 * _DAY_MS
_SHORTEST_MS = 600_000


@click.command(cls=LookCommand)
@click.argument("gpu", required=False)
@click.option("--over", metavar="TIME", default="24h", show_default=True, help="How far back, at most 14d.")
@click.option("--step", metavar="TIME", help="One line for each such time, from 10m to 1d; chosen to fit by default.")
def history(gpu: str | None, *, over: str, step: str | None) -> None:
    """Show what a GPU model cost: lowest, median and dearest of the offers with free slots.

    GPU is one model, all by default. Every price is proved by an offer that its provider signed at that time.

    \b
    cfab history RTX4090 --over 7d
    """
    from node.quantities import parse_duration_ms

    over_ms = read_value("--over", parse_duration_ms, over)
    if not _SHORTEST_MS <= over_ms <= _FARTHEST_MS:
        raise Usage(f"--over: '{over}' is out of range", fix="from 10m to 14d")
    step_ms = read_value("--step", parse_duration_ms, step) if step else _fitting_step(over_ms)
    if not _SHORTEST_MS <= step_ms <= _DAY_MS:
        raise Usage(f"--step: '{step}' is out of range", fix="from 10m to 1d")
    show(look("history", gpu=gpu, over_ms=over_ms, step_ms=step_ms), _print_bars)


def _fitting_step(over_ms: int) -> int:
    """About two dozen lines: ten minutes, an hour or a part of a day."""
    hours = -(-over_ms // _DAY_MS)
    return _SHORTEST_MS if over_ms <= 4 * _HOUR_MS else hours * _HOUR_MS


def _print_bars(bars: list[dict[str, Any]]) -> None:
    if not bars:
        current_session().say("no prices are remembered of that; they are noted every ten minutes")
        return
    bars = sorted(bars, key=lambda bar: (str(bar["gpu"]), bool(bar["simulated"]), str(bar["closed_at"])))
    dearest: dict[str, int] = {}
    for bar in bars:
        dearest[bar["gpu"]] = max(dearest.get(bar["gpu"], 1), _nano(bar["median"]))
    rows = [
        (
            str(bar["closed_at"])[:16].replace("T", " "),
            str(bar["gpu"]) + (" (simulated)" if bar["simulated"] else ""),
            price(bar["lowest"]),
            price(bar["median"]),
            price(bar["dearest"]),
            bar["slots"],
            bar["providers"],
            "#" * (_WIDTH * _nano(bar["median"]) // dearest[bar["gpu"]]),
        )
        for bar in bars
    ]
    print(table(("UTC", "GPU", "LOWEST", "MEDIAN", "DEAREST", "FREE", "PROVIDERS", "MEDIAN, DRAWN"), rows))


def _nano(view: dict[str, Any]) -> int:
    return int(view["nano_per_gpu_second"])
