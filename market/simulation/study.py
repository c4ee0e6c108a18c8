"""One simulated market from beginning to end, as ``cfab simulate`` shows it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from market.simulation.accounts import Account, account
from market.simulation.epochs import Index, Market, Plan, run
from market.simulation.world import make_jobs, make_machines

_FILL = 20
"""Jobs per machine that are tried before the market begins: enough for any load below all."""


class Settings(NamedTuple):
    """A world and how it is run; ``plan.known`` is what a study varies."""

    machines: int = 1_000
    bids: int = 10_000
    strategy: str = "lowest_cost"
    plan: Plan = Plan()


def hold(settings: Settings, luck_for: Callable[[str], Random], view: Index) -> Account:
    """Run one market.

    Two runs that differ only in ``plan.known`` have the same machines and the same jobs.

    Args:
        settings: the world.
        luck_for: a source of chance for each purpose; the same source for the same word.
        view: an empty index.
    """
    rows = make_machines(settings.machines, luck_for("machines"))
    market = Market(rows, view)
    earlier = make_jobs(rows, _FILL * settings.machines, luck_for("earlier"), settings.strategy)
    market.fill(earlier, settings.plan.load, luck_for("age"))
    jobs = make_jobs(rows, settings.bids, luck_for("jobs"), settings.strategy)
    return account(rows, run(market, jobs, settings.plan, luck_for(f"rivals {settings.plan.known}")))
