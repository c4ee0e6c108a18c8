"""``cfab offers``: the live market as this node, or with ``--light`` as public peers, see it."""

from __future__ import annotations

from typing import Any

import click

from node.cli.amounts import price
from node.cli.look import look, show
from node.cli.options import LookCommand, current_session
from node.cli.terminal import short, table
from node.cli.typed_value import read_value

_HEADER = ("PROVIDER", "MACHINE", "GPU", "VRAM", "CPU", "MEMORY", "FREE", "PRICE (tokens)", "REGION", "ISOLATION")


@click.command(cls=LookCommand)
@click.argument("query", nargs=-1)
@click.option("-o", "--order", metavar="FIELDS", help="Sort by these, - for descending: price,-reputation.")
@click.option("-g", "--gpu", metavar="MODEL", help="Only this model.")
@click.option("--region", metavar="REGION", help="Only there.")
@click.option("--max-price", metavar="PRICE", help="At most this, such as 0.40/h.")
@click.option("--min-vram", metavar="SIZE", help="At least this GPU memory, such as 24GB.")
@click.option("--free", is_flag=True, help="Only with free slots.")
@click.option("--real", is_flag=True, help="No simulated GPUs.")
@click.option("--depth", is_flag=True, help="Show how much is free at which price instead.")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most this many.")
def offers(query: tuple[str, ...], *, order: str | None, depth: bool, limit: int, **flags: Any) -> None:
    """List live offers, cheapest first.

    QUERY holds terms that must all be true: a field, one of = != < <= > >= and a value; = and != also take sets and
    ranges. Fields: gpu vram cpu memory disk price region jurisdiction free slots runtime isolation cuda driver notice
    interruptible reputation rtt speed net simulated provider machine.

    \b
    gpu=RTX4090 vram>=24GB cpu>=8 memory>=32GB disk>=100GB free>=1 slots>=4
    price<=0.40/h speed>=1000 (one A100) net>=100Mbit rtt<=50ms
    region=eu jurisdiction=eu reputation>=0.95 interruptible=false
    notice>=10m (told so long before it is taken back; never taken back is more)
    runtime=runsc isolation=vm cuda>=12.4 driver>=535 simulated=false
    provider=3f9a (how its key begins) machine=m0

    \b
    cfab offers 'gpu=RTX4090 vram>=24GB region=eu price<0.5/h' -o price,-reputation
    cfab offers 'gpu=A100,H100 vram=40GB..80GB free>=2'
    """
    asked = {"where": " ".join(query), **_flags(**flags)}
    if depth:
        from node.cli.depth import print_depth

        show(look("depth", **asked), print_depth)
    else:
        show(look("offers", **asked, order=order, limit=limit), _print_offers)


def _flags(
    *, gpu: str | None, region: str | None, max_price: str | None, min_vram: str | None, free: bool, real: bool
) -> dict[str, object]:
    query: dict[str, object] = {"gpu": gpu, "region": region, "max_price": max_price}
    if max_price:
        from market.money import parse_hourly_price

        read_value("--max-price", parse_hourly_price, max_price)
    if min_vram:
        from node.job_file.gpu import parse_gpu

        query["min_vram_mib"] = read_value("--min-vram", parse_gpu, min_vram.removesuffix("+") + "+").vram_mib
    if free:
        query["free"] = True
    if real:
        query["simulated"] = False
    return query


def _print_offers(found: list[dict[str, Any]]) -> None:
    session = current_session()
    if not found:
        session.say("no live offer fits; without filters 'cfab offers' shows all, 'cfab status' the peers")
        return
    seen = any("seen_by" in offer for offer in found)
    rows = [
        (
            short(offer.get("provider")) + (" (you)" if offer.get("mine") else ""),
            offer.get("machine"),
            str(offer.get("gpu")) + (" (simulated)" if offer.get("simulated") else ""),
            _gib(offer.get("vram_mib")),
            f"{int(offer.get('cpu_milli') or 0) / 1000:g}",
            _gib(offer.get("memory_mib")),
            f"{offer.get('free_slots')}/{offer.get('total_slots')}",
            price(offer.get("price")),
            offer.get("region") or "-",
            offer.get("isolation"),
            *((offer.get("seen_by"),) if seen else ()),
        )
        for offer in found
    ]
    print(table((*_HEADER, *(("SEEN BY",) if seen else ())), rows))


def _gib(mib: Any) -> str:
    """One unit for the whole table, or 24GiB would stand beside 64GB. Machines report odd amounts, and a whole number
    is what people call them by; ``-`` for nothing, as on a machine without a card."""
    gib = int(mib or 0) / 1024
    return f"{gib:.0f}GiB" if gib >= 8 else f"{gib:.2g}GiB" if gib else "-"
