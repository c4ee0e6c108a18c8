"""``cfab offers``: the live market as this node sees it."""

from __future__ import annotations

from typing import Any

import click

from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.story import price
from node.cli.terminal import short, table
from node.quantities import format_memory


@click.command(cls=Command)
@click.option("-g", "--gpu", metavar="MODEL", help="Only this model.")
@click.option("--region", metavar="REGION", help="Only there.")
@click.option("--max-price", metavar="PRICE", help="At most this, such as 0.40/h.")
@click.option("--min-vram", metavar="SIZE", help="At least this GPU memory, such as 24GB.")
@click.option("--free", is_flag=True, help="Only with free slots.")
@click.option("--real", is_flag=True, help="No simulated GPUs.")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most this many.")
def offers(
    *,
    gpu: str | None,
    region: str | None,
    max_price: str | None,
    min_vram: str | None,
    free: bool,
    real: bool,
    limit: int,
) -> None:
    """List live offers, cheapest first."""
    session = current_session()
    query: dict[str, object] = {"gpu": gpu, "region": region, "max_price": max_price, "limit": limit}
    if min_vram:
        from node.job_file.gpu import parse_gpu

        query["min_vram_mib"] = parse_gpu(min_vram.removesuffix("+") + "+").vram_mib
    if free:
        query["free"] = True
    if real:
        query["simulated"] = False
    found: list[dict[str, Any]] = connect(session).get("offers", **query)
    if session.as_json:
        session.emit(found)
        return
    if not found:
        session.say("no live offer fits; without filters 'cfab offers' shows all, 'cfab status' the peers")
        return
    _print_table(found)


def _print_table(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            short(offer.get("provider")) + (" (you)" if offer.get("mine") else ""),
            offer.get("machine"),
            str(offer.get("gpu")) + (" (simulated)" if offer.get("simulated") else ""),
            _vram(offer),
            f"{int(offer.get('cpu_milli') or 0) / 1000:g}",
            format_memory(int(offer.get("memory_mib") or 0)),
            f"{offer.get('free_slots')}/{offer.get('total_slots')}",
            price(offer.get("price")),
            offer.get("region") or "-",
            offer.get("isolation"),
        )
        for offer in found
    ]
    header = ("PROVIDER", "MACHINE", "GPU", "VRAM", "CPU", "MEMORY", "FREE", "PRICE (tokens)", "REGION", "ISOLATION")
    print(table(header, rows))


def _vram(offer: dict[str, Any]) -> str:
    """Cards report odd amounts, and a whole number of GiB is what people call them by; ``-`` without a card."""
    mib = int(offer.get("vram_mib") or 0)
    return f"{mib / 1024:.0f}GiB" if mib else "-"
