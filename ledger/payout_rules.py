"""When earnings go to their owner, and how much of them. Pure.

A node's own account is a hot one: its key lies on a machine that runs strangers' work. What it has earned should lie
there no longer than it must. Only earnings are ever sent on, never the tokens its owner gave it to buy with.
"""

from __future__ import annotations

import datetime

from msgspec import Struct

DAY_MS = 86_400_000
LAST_DAY = 28
"""The last day of the month that every month has."""
_MONDAY_MS = 4 * DAY_MS
"""The first Monday of Unix time."""


class PayoutPlan(Struct, frozen=True, kw_only=True):
    """Where earnings go and when.

    Attributes:
        to: the owner's account, 20 bytes; its key need not be on this machine.
        threshold: token units below which nothing is sent: a transfer costs gas.
        every: at most once per ``day``, ``week`` (from Monday) or month (from its day ``"1"`` to ``"28"``), in UTC;
            empty for whenever the threshold is reached.
        keep: token units that always stay in the account.
    """

    to: bytes
    threshold: int
    every: str = ""
    keep: int = 0


def surplus(plan: PayoutPlan, *, balance: int, earned: int, paid_out: int) -> int:
    """What may be sent to the owner: earned and not yet sent, as far as the account holds it beside what it keeps."""
    return max(0, min(balance - plan.keep, earned - paid_out))


def payout_due(plan: PayoutPlan, *, amount: int, last_ms: int, now_ms: int) -> bool:
    """Whether ``amount`` should be sent now.

    Args:
        last_ms: when the last payout began, or, before the first, when the plan began; UTC milliseconds.
    """
    return amount > 0 and amount >= plan.threshold and now_ms >= next_date(plan, last_ms)


def next_date(plan: PayoutPlan, last_ms: int) -> int:
    """The first moment after ``last_ms`` at which the plan allows a payout; UTC milliseconds."""
    if plan.every == "day":
        return last_ms - last_ms % DAY_MS + DAY_MS
    if plan.every == "week":
        return last_ms - (last_ms - _MONDAY_MS) % (7 * DAY_MS) + 7 * DAY_MS
    if plan.every:
        return _next_day_of_month(int(plan.every), last_ms)
    return last_ms


def _next_day_of_month(day: int, last_ms: int) -> int:
    last = datetime.datetime.fromtimestamp(last_ms // 1000, datetime.UTC)
    month = last.replace(day=day, hour=0, minute=0, second=0, microsecond=0)
    if month <= last:
        month = month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)
    return round(month.timestamp()) * 1000
