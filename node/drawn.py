"""How much of what was vouched the chain has paid: a voucher is a promise until it is drawn. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ledger.lane import LaneSummary
from node.control import money
from node.control_shapes import DrawnView


def drawn_view(lanes: Iterable[LaneSummary]) -> DrawnView:
    """What became of the vouchers of these lanes, which pay us, as their books have last seen the chain.

    A voucher stays good for as long as its lane lives, but it is worth no more than the lane holds: what is above that
    is lost, unless the payer fills the lane once more.
    """
    vouched = drawn = outstanding = 0
    for lane in lanes:
        vouched += lane.signed
        drawn += lane.claimed
        outstanding += min(max(lane.signed - lane.claimed, 0), max(lane.held, 0))
    return {
        "vouched": money(vouched),
        "drawn": money(drawn),
        "outstanding": money(outstanding),
        "lost": money(max(vouched - drawn - outstanding, 0)),
    }
