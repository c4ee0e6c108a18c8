"""How a simulated market went: who got a machine, who at the first try, at what price, and who earned.

Shares are fractions from 0 to 1. A bid *could be served* when at least one machine fitted it as its epoch began; only
these count in the shares below, because nobody can help the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from market.offer_row import Row, expected_ms
from market.simulation.epochs import Epoch
from market.simulation.welfare import at_most, surplus, worth

BOUNDED_EPOCHS = 5
"""Of so many epochs the best possible is computed: it takes longer than the epoch itself."""


class Account(NamedTuple):
    """The figures of one run.

    Attributes:
        bids: how many there were.
        could: how many of them could be served.
        served: share of those that were: together they want more than there is.
        first_try: share of the served that got the first provider they asked.
        tries: providers asked by one that was served, on average.
        missed: share of those that could be served which got nothing although a machine that fits was left.
        served_by_size: the same by slots of the job.
        welfare: surplus of all served, nanotokens per second.
        in_turn: the surplus had they come one after the other, each seeing what was left.
        of_best: surplus by the most that is possible, over some epochs; at least this, because that is an upper bound.
        premium: price paid above that of the machine each would have taken if it had been alone.
        earnings: Jain's index of what providers earned per slot; 1: all the same, 1/n: one has all.
        work: the same of the time their slots were used.
        sizes: Jain's index of ``served_by_size``.
    """

    bids: int
    could: int
    served: float
    first_try: float
    tries: float
    missed: float
    served_by_size: dict[int, float]
    welfare: int
    in_turn: int
    of_best: float
    premium: float
    earnings: float
    work: float
    sizes: float


def account(rows: Sequence[Row], epochs: Iterable[Epoch]) -> Account:
    """Go through the epochs of one run.

    Args:
        rows: the machines, all slots free.
        epochs: from :func:`market.simulation.epochs.run`.
    """
    held = list(epochs)
    fates = [fate for epoch in held for fate in epoch.fates]
    could = [fate for fate in fates if fate.best >= 0]
    got = [fate for fate in could if fate.handle >= 0]
    paid = sum(rows[fate.handle].price * fate.query.slots for fate in got)
    cheapest = sum(rows[fate.best].price * fate.query.slots for fate in got)
    earned, worked = [0] * len(rows), [0] * len(rows)
    for fate in got:
        slot_ms = fate.query.slots * expected_ms(rows[fate.handle], fate.query)
        worked[fate.handle] += slot_ms
        earned[fate.handle] += slot_ms * rows[fate.handle].price
    sizes = sorted({fate.query.slots for fate in could})
    by_size = {size: _share([f.handle >= 0 for f in could if f.query.slots == size]) for size in sizes}
    return Account(
        bids=len(fates),
        could=len(could),
        served=_share([fate.handle >= 0 for fate in could]),
        first_try=_share([fate.tries == 1 for fate in got]),
        tries=sum(fate.tries for fate in got) / len(got) if got else 0.0,
        missed=_share([fate.handle < 0 and fate.left >= 0 for fate in could]),
        served_by_size=by_size,
        welfare=sum(surplus(rows[fate.handle], fate.query) for fate in got),
        in_turn=sum(_in_turn(rows, epoch) for epoch in held),
        of_best=_of_best(rows, held),
        premium=paid / cheapest - 1 if cheapest else 0.0,
        earnings=jain([total / row.free for total, row in zip(earned, rows, strict=True)]),
        work=jain([total / row.free for total, row in zip(worked, rows, strict=True)]),
        sizes=jain(list(by_size.values())),
    )


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index (Jain, Chiu, Hawe 1984): the square of the sum by n times the sum of squares; 1 when there
    is nothing to share out."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _in_turn(rows: Sequence[Row], epoch: Epoch) -> int:
    return worth(rows, zip((fate.query for fate in epoch.fates), epoch.in_turn, strict=True))


def _of_best(rows: Sequence[Row], epochs: Sequence[Epoch]) -> float:
    reached = possible = 0
    for epoch in epochs[:: max(1, len(epochs) // BOUNDED_EPOCHS)]:
        free = [row._replace(free=slots) for row, slots in zip(rows, epoch.free, strict=True)]
        possible += at_most(free, [fate.query for fate in epoch.fates])
        reached += worth(rows, ((fate.query, fate.handle) for fate in epoch.fates))
    return reached / possible if possible else 1.0


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers) if answers else 0.0
