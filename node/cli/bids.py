"""``cfab bids``: what is being asked for right now."""

from __future__ import annotations

from typing import Any

import click

from node.cli.look import look, show
from node.cli.options import LookCommand, current_session
from node.cli.terminal import short, table
from node.quantities import format_memory


@click.command(cls=LookCommand)
def bids() -> None:
    """List live bids, newest first. A bid tells what a job needs, never what it would pay."""
    show(look("bids"), _print_bids)


def _print_bids(found: list[dict[str, Any]]) -> None:
    if not found:
        current_session().say("no live bids: nobody is choosing a machine now; a bid ends when its job has found one")
        return
    rows = [
        (
            short(bid.get("requester")) + (" (you)" if bid.get("mine") else ""),
            short(bid.get("bid")),
            ",".join(map(str, bid.get("gpus") or ())) or "any",
            bid.get("slots"),
            _vram(bid),
            ",".join(map(str, [*(bid.get("regions") or ()), *(bid.get("jurisdictions") or ())])) or "any",
            bid.get("strategy"),
        )
        for bid in found
    ]
    print(table(("REQUESTER", "BID", "GPU", "SLOTS", "VRAM", "WHERE", "STRATEGY"), rows))


def _vram(bid: dict[str, Any]) -> str:
    low, high = int(bid.get("vram_mib") or 0), int(bid.get("vram_max_mib") or 0)
    if not low and not high:
        return "any"
    return f"{format_memory(low)}..{format_memory(high)}" if high else f"{format_memory(low)}+"
