"""``cfab provider price`` and ``set-price``: what a machine costs, what its like is sold for, what to ask for it."""

from __future__ import annotations

from typing import Any

import click

from market.errors import InvalidRequest
from node.cli.failures import Usage
from node.cli.node_access import connect
from node.cli.options import Command, current_session
from node.cli.status import provider_line
from node.cli.terminal import safe
from node.cli.typed_value import read_value

_ALL_OFFERS = 100_000


@click.command(cls=Command)
@click.option("--gpu", metavar="MODEL", help="For this model; without it, for what this node sells.")
@click.option(
    "--watts", type=click.IntRange(0, 100_000), metavar="W", help="Drawn by a card and its share of the machine."
)
@click.option("--power-price", metavar="PRICE", help="Tokens per kilowatt-hour, such as 0.30/kWh.")
@click.option("--wear", metavar="PRICE", help="What else an hour costs, such as 0.02/h.")
def price(gpu: str | None, watts: int | None, power_price: str | None, wear: str | None) -> None:
    """What a machine costs its owner, what others ask for its like, and a price to begin with.

    The floor is watts × price of energy + wear: below it every job is a loss. The market is the quartiles of what other
    providers ask now, each counted once with its cheapest; simulated machines are left out. All three are prices that
    somebody asks: where a quartile falls between two, it is the lower.

    \b
    cfab provider price --watts 350 --power-price 0.30/kWh --wear 0.02/h
    """
    session = current_session()
    floor, why = _floor(watts, power_price, wear)
    offers: list[dict[str, Any]] = connect(session).get("offers", limit=_ALL_OFFERS)
    own = [offer for offer in offers if offer.get("mine")]
    wanted = [(gpu, None)] if gpu else [(str(offer["gpu"]), offer) for offer in own]
    if not wanted:
        raise InvalidRequest(
            "this node sells nothing", code="not_a_provider", fix="name a model: cfab provider price --gpu RTX4090"
        )
    advice = [_advice(model, offer, offers, floor) for model, offer in wanted]
    if session.as_json:
        session.emit(advice)
        return
    for one in advice:
        _print(one, why)


@click.command(cls=Command, name="set-price")
@click.argument("price")
@click.option("--machine", default="", metavar="NAME", help="Only this one of several machines.")
def set_price(price: str, machine: str) -> None:
    """Ask PRICE, such as 0.32/h, from now on.

    Running leases keep the price of their award, and the old tag is honoured for five seconds more. Holds until the
    node restarts: the config file is not rewritten. With a surge the price moves on from here.
    """
    from market.money import format_hourly, parse_hourly_price

    session = current_session()
    asked = read_value("PRICE", parse_hourly_price, price)
    view = connect(session).post("provider", "price", body={"price": price, "machine": machine})
    if session.as_json:
        session.emit(view)
        return
    print(provider_line(view))
    session.say(f'  until the next start; to keep it, put price = "{format_hourly(asked)}" under [provider]')


def _floor(watts: int | None, power_price: str | None, wear: str | None) -> tuple[int, str]:
    """The floor and what it is made of: of the flags, or else of the config; 0 when there is none."""
    from market.money import format_hourly, parse_hourly_price
    from market.pricing import floor_price
    from node.config import load_config
    from node.quantities import parse_energy_price

    if watts is None and power_price is None and wear is None:
        floor = load_config(current_session().home).provider.floor
        return floor, "of the config" if floor else "unknown: say --watts and --power-price"
    if watts is None or power_price is None:
        raise Usage("a floor needs both --watts and --power-price", fix="such as --watts 350 --power-price 0.30/kWh")
    worn = read_value("--wear", parse_hourly_price, wear) if wear else 0
    energy = read_value("--power-price", parse_energy_price, power_price)
    why = f"{watts} W at {power_price}" + (f", wear {format_hourly(worn)}" if worn else "")
    return floor_price(watts, energy, worn), why


def _advice(gpu: str, own: dict[str, Any] | None, offers: list[dict[str, Any]], floor: int) -> dict[str, Any]:
    """One machine's figures, as ``shapes.PriceAdvice`` says."""
    from bisect import bisect_left

    from market.pricing import asking_prices, quartiles, round_up, same_class, suggest
    from node.control import price_view

    prices = asking_prices(
        (str(offer["provider"]), int(offer["price"]["nano_per_gpu_second"]))
        for offer in offers
        if not offer.get("mine") and not offer.get("simulated") and same_class(str(offer["gpu"]), gpu)
    )
    market = quartiles(prices)
    mine = int(own["price"]["nano_per_gpu_second"]) if own else None
    return {
        "gpu": gpu,
        "machine": own["machine"] if own else None,
        "floor": price_view(floor) if floor else None,
        "market": {name: price_view(getattr(market, name)) for name in ("low", "median", "high")} if market else None,
        "providers": len(prices),
        "price": price_view(mine) if mine is not None else None,
        "cheaper": bisect_left(prices, mine) if mine is not None else None,
        "suggested": price_view(round_up(suggest(floor, market))) if floor or market else None,
    }


def _print(advice: dict[str, Any], why: str) -> None:
    def hourly(name: str) -> str:
        return str(advice[name]["hourly"]) if advice[name] else "-"

    machine = f" ({safe(advice['machine'])})" if advice["machine"] else ""
    print(f"{safe(advice['gpu'])}{machine}")
    print(f"  {'floor':<10} {hourly('floor'):<10} {safe(why)}")
    others = f"{advice['providers']} other provider{'s' if advice['providers'] != 1 else ''}"
    if advice["market"]:
        low, median, high = (advice["market"][name]["hourly"] for name in ("low", "median", "high"))
        print(f"  {'market':<10} {low} · {median} · {high}   quartiles of {others}")
    else:
        nobody = "nobody else" if advice["machine"] else "nobody"
        print(f"  {'market':<10} {'-':<10} {nobody} sells this model now")
    if advice["price"]:
        cheaper = f"{advice['cheaper']} of {others} ask less" if advice["market"] else ""
        loss = "below the floor: every job is a loss" if _is_loss(advice) else ""
        print(f"  {'yours':<10} {hourly('price'):<10} {' · '.join(part for part in (cheaper, loss) if part)}".rstrip())
    if advice["suggested"]:
        print(f"  {'suggested':<10} {hourly('suggested'):<10} cfab provider set-price {hourly('suggested')}")


def _is_loss(advice: dict[str, Any]) -> bool:
    return bool(advice["floor"]) and advice["price"]["nano_per_gpu_second"] < advice["floor"]["nano_per_gpu_second"]
