"""Which lanes to redeem together now, and why: ``lane_rules.redeem_due`` over all of them, with shared gas. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from ledger.lane_rules import RedeemReason, redeem_due
from ledger.ports import LaneKey

MAX_ROWS = 500
"""Vouchers in one redemption; more would near the gas limit of a transaction."""
BASE_GAS = 41_000
"""Of a redemption with no voucher in it; ``tests/bench/gas_table.py`` measures both."""
ROW_GAS = 10_400
_WEI = 10**18


class Drawable(Struct, frozen=True, kw_only=True):
    """A lane that a redemption would draw ``unredeemed`` units from.

    ``leaving``: its payer's exit runs. ``idle``: no lease pays from it any more, for long enough.
    """

    lane: LaneKey
    unredeemed: int
    leaving: bool = False
    idle: bool = False


class GasCost(Struct, frozen=True, kw_only=True):
    """What a redemption costs, in token units: ``base`` once, ``row`` for each voucher in it."""

    base: int
    row: int

    def share(self, rows: int) -> int:
        """One voucher's part of a redemption of so many."""
        return self.row + -(-self.base // max(rows, 1))


def gas_cost(wei: int, coin_units: int) -> GasCost:
    """The cost at a gas price of ``wei``, where one of the chain's coins is worth ``coin_units`` token units."""
    return GasCost(base=_up(BASE_GAS * wei * coin_units), row=_up(ROW_GAS * wei * coin_units))


def plan_redemption(
    lanes: Sequence[Drawable], *, exposure_cap: int, gas: GasCost | None, last: bool = False, forced: bool = False
) -> list[tuple[Drawable, RedeemReason]]:
    """The lanes that are due, the most valuable first.

    The more go together, the less each pays of the base. So it begins with all of them together, leaves out who is
    not worth that share, and asks again until nobody falls out: the largest batch in which every row is due.

    Args:
        exposure_cap, forced, last: as for :func:`ledger.lane_rules.redeem_due`; ``last`` of all lanes.
        gas: None where nobody told what gas is worth.
    """
    chosen = [(one, RedeemReason.FORCED) for one in sorted(lanes, key=lambda one: (-one.unredeemed, one.lane))]
    while chosen:
        share = gas.share(min(len(chosen), MAX_ROWS)) if gas else None
        due = []
        for one, _ in chosen:
            reason = redeem_due(
                unredeemed=one.unredeemed,
                exit_running=one.leaving,
                exposure_cap=exposure_cap,
                gas_cost=share,
                forced=forced,
                last=last or one.idle,
            )
            if reason is not None:
                due.append((one, reason))
        if len(due) == len(chosen):
            return due
        chosen = due
    return []


def _up(wei_units: int) -> int:
    return -(-wei_units // _WEI)
