"""``cfab simulate``: a made-up market in this process: what the auction does, before a real one does it to you."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from market.strategies import STRATEGIES
from node.cli.failures import Usage
from node.cli.options import Command, current_session
from node.cli.plot import Bar, Chart, as_svg, as_text
from node.cli.terminal import table
from node.cli.typed_value import NumberRange

if TYPE_CHECKING:
    from market.simulation.accounts import Account
    from market.simulation.study import Settings

RIVALS = (0.5, 0.8, 0.95, 1.0)
_SHARE = NumberRange(0, 1)


@click.command(cls=Command)
@click.option("--nodes", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="Machines for sale.")
@click.option("--bids", type=click.IntRange(1, 1_000_000), default=10_000, show_default=True, help="Bids in all.")
@click.option("--seed", type=int, default=1, show_default=True, help="Same seed, same market.")
@click.option(
    "--per-epoch",
    type=click.IntRange(1, 10_000),
    default=200,
    show_default=True,
    help="Bids made before the news of any of them has spread.",
)
@click.option(
    "--rivals",
    type=_SHARE,
    multiple=True,
    metavar="SHARE",
    help="Share of its rivals' bids that a requester hears of in time; again for more. Default: 0.5 to 1.",
)
@click.option(
    "--requesters",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Nodes that the bids of an epoch come from.",
)
@click.option(
    "--load",
    type=NumberRange(0, 0.99),
    default=0.6,
    show_default=True,
    help="Share of all slots in use when an epoch begins.",
)
@click.option(
    "--strategy",
    type=click.Choice([*STRATEGIES, "mixed"]),
    default="lowest_cost",
    show_default=True,
    help="What the jobs want most.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    metavar="FILE.svg",
    help="Draw the bars into a file too.",
)
@click.option("--force", is_flag=True, help="Draw over the file if it is there.")
def simulate(*, seed: int, rivals: tuple[float, ...], plot: Path | None, force: bool, **world: Any) -> None:
    """Hold a made-up market: who is served, at which try, at what price, and how far from the best possible.

    First every bid is decided as if it were the only one, then by counting with the rivals it heard of. Nothing is
    bought, no node is asked.
    """  # fmt: skip
    session = current_session()
    if plot is not None and not plot.parent.is_dir():
        raise Usage(f"there is no folder {plot.parent} to draw into", fix="make it, or name another file")
    if plot is not None and plot.exists() and not force:
        raise Usage(f"{plot} is there already", fix="name another file, or draw over it with --force")
    settings = _settings(**world)
    runs: list[tuple[float | None, Account]] = []
    for share in (None, *(rivals or RIVALS)):
        session.say(f"{world['bids']} bids on {world['nodes']} machines, {_name(share)} …")
        runs.append((share, _hold(settings, share, seed)))
    charts = _charts(runs)
    if plot is not None:
        plot.write_text(as_svg(charts), encoding="utf-8")
        session.say(f"drawn in {plot}")
    if session.as_json:
        asked = {name: world[name] for name in ("nodes", "bids", "per_epoch", "requesters", "load", "strategy")}
        session.emit({"seed": seed, **asked, "runs": [_view(share, account) for share, account in runs]})
    else:
        _show(runs, charts)


def _settings(*, nodes: int, bids: int, per_epoch: int, requesters: int, load: float, strategy: str) -> Settings:
    from market.simulation.epochs import Plan
    from market.simulation.study import Settings

    plan = Plan(per_epoch=per_epoch, load=round(load * 1000), requesters=requesters)
    return Settings(machines=nodes, bids=bids, strategy=strategy, plan=plan)


def _hold(settings: Settings, share: float | None, seed: int) -> Account:
    from market.native_index import open_index
    from market.simulation.study import hold

    known = None if share is None else round(share * 1000)
    changed = settings._replace(plan=settings.plan._replace(known=known))
    return hold(changed, lambda purpose: random.Random(f"{seed}/{purpose}"), open_index())


def _show(runs: list[tuple[float | None, Account]], charts: list[Chart]) -> None:
    first = runs[0][1]
    print(f"{first.could} of {first.bids} bids could be served: a free machine fitted them as their epoch began\n")
    header = (
        "BIDS DECIDED",
        "FIRST TRY",
        "TRIES",
        "SERVED",
        "MISSED",
        "OF IN TURN",
        "OF BEST",
        "PRICE",
        "EARN",
        "WORK",
    )
    rows = [
        (
            _name(share),
            f"{one.first_try:.1%}",
            f"{one.tries:.2f}",
            f"{one.served:.1%}",
            f"{one.missed:.1%}",
            f"{_of_in_turn(one):.1%}",
            f"≥ {one.of_best:.1%}",
            f"{one.premium:+.1%}",
            f"{one.earnings:.2f}",
            f"{one.work:.2f}",
        )
        for share, one in runs
    ]
    print(table(header, rows))
    print(_LEGEND)
    print(as_text(charts))


_LEGEND = """
FIRST TRY   of those served, got the first provider asked     TRIES  providers asked by one that was served
SERVED      of those that could be                            MISSED got nothing, and a machine that fits was left
OF IN TURN  what requesters keep (cap less price), compared with bids that come one after the other and see all
OF BEST     the same, compared with the best possible         PRICE  above the machine it would take if it were alone
EARN, WORK  Jain's index of providers' income and use per slot: 1 all the same, 1/n one has it all
"""


def _charts(runs: list[tuple[float | None, Account]]) -> list[Chart]:
    def chart(title: str, value: Any) -> Chart:
        return Chart(title, tuple(Bar(_name(share), value(one), f"{value(one):.1%}") for share, one in runs))

    last_share, last = runs[-1]
    sizes = tuple(
        Bar("1 slot" if size == 1 else f"{size} slots", part, f"{part:.1%}")
        for size, part in last.served_by_size.items()
    )
    return [
        chart("Got the first provider asked, of those served", lambda one: one.first_try),
        chart("Served, of those that could be", lambda one: one.served),
        chart("Kept by requesters, of the best possible (at least)", lambda one: one.of_best),
        Chart(f"Served by size of the job, {_name(last_share)}", sizes),
    ]


def _name(share: float | None) -> str:
    return "each alone" if share is None else f"{share:.0%} of rivals"


def _of_in_turn(account: Account) -> float:
    return account.welfare / account.in_turn if account.in_turn else 1.0


def _view(share: float | None, one: Account) -> dict[str, Any]:
    """The figures of a run as ``--json`` prints them, to six digits."""
    view = {"rivals": share, **one._asdict(), "of_in_turn": _of_in_turn(one)}
    view["served_by_size"] = {str(size): round(part, 6) for size, part in one.served_by_size.items()}
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in view.items()}
