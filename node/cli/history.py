"""``cfab history``: what a GPU model cost over the last days."""

from __future__ import annotations

from typing import Any

import click

from node.cli.amounts import price
from node.cli.look import look, show
from node.cli.options import LookCommand, current_session
from node.cli.terminal import table

_WIDTH = 24


@click.command(cls=LookCommand)
@click.argument("gpu", required=False)
@click.option("--over", metavar="TIME", default="24h", show_default=True, help="How far back, at most 14d.")
@click.option("--step", metavar="TIME", help="One line for each such time, at least 10m; chosen to fit by default.")
def history(gpu: str | None, *, over: str, step: str | None) -> None:
    """Show what a GPU model cost: lowest, median and dearest of the offers with free slots.

    GPU is one model, all by default. Every price is proved by an offer that its provider signed at that time.

    \b
    cfab history RTX4090 --over 7d
    """
    from node.quantities import parse_duration_ms

    over_ms = parse_duration_ms(over)
    step_ms = parse_duration_ms(step) if step else _fitting_step(over_ms)
    show(look("history", gpu=gpu, over_ms=over_ms, step_ms=min(step_ms, 86_400_000)), _print_bars)


def _fitting_step(over_ms: int) -> int:
    """About two dozen lines: ten minutes, an hour or a part of a day."""
    hours = -(-over_ms // (24 * 3_600_000))
    return 600_000 if over_ms <= 4 * 3_600_000 else hours * 3_600_000


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
    print(table(("UTC", "GPU", "LOWEST", "MEDIAN", "DEAREST", "FREE", "PROVIDERS", "MEDIAN"), rows))


def _nano(view: dict[str, Any]) -> int:
    return int(view["nano_per_gpu_second"])
