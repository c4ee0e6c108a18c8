"""``cfab depth``: how much of each GPU model is free at which price, as bars of text."""

from __future__ import annotations

from typing import Any

import click

from node.cli.look import look, show
from node.cli.options import LookCommand, current_session
from node.cli.terminal import safe

MAX_ROWS = 12
_WIDTH = 40


@click.command(cls=LookCommand)
@click.argument("gpu", required=False)
@click.argument("query", nargs=-1)
def depth(gpu: str | None, query: tuple[str, ...]) -> None:
    """Show how much is free at which price, by GPU model.

    GPU is one model; QUERY as for 'cfab offers'.

    \b
    cfab depth RTX4090 'region=eu'
    """
    words = list(query)
    if gpu and any(sign in gpu for sign in "=<>"):
        words, gpu = [gpu, *words], None
    show(look("depth", gpu=gpu, where=" ".join(words)), print_depth)


def print_depth(depths: list[dict[str, Any]]) -> None:
    """One block for each model: a row for each price, a bar for all that is free up to it."""
    if not depths:
        current_session().say("nothing is free; 'cfab offers' shows what is taken too")
    for number, one in enumerate(depths):
        simulated = " (simulated)" if one.get("simulated") else ""
        slots, providers = int(one["slots"]), int(one["providers"])
        print(("\n" if number else "") + f"{safe(one['gpu'])}{simulated}: {slots} free at {_count(providers)}")
        for level in _few(one["levels"]):
            bar = "#" * max(1, _WIDTH * int(level["cumulative"]) // max(1, slots))
            print(
                f"  {safe(level['price']['hourly']):>14}  {bar:<{_WIDTH}}  {int(level['cumulative']):>6}"
                f"  {_count(int(level['providers']))}"
            )


def _few(levels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At most :data:`MAX_ROWS` of the levels, the first and the last among them; their sums stay true."""
    if len(levels) <= MAX_ROWS:
        return levels
    last = len(levels) - 1
    return [levels[last * row // (MAX_ROWS - 1)] for row in range(MAX_ROWS)]


def _count(providers: int) -> str:
    return f"{providers} provider{'' if providers == 1 else 's'}"
