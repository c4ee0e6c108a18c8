"""What a node holds in signatures only, who else holds them for it, and what is done about it before it goes away."""

from __future__ import annotations

import logging

import trio

from bootstrap.identity import peer_id_of
from market.errors import FabricError
from node.control import money
from node.control_shapes import TowerView, WatchView
from node.selling import Selling
from node.trading import TradingNode

log = logging.getLogger(__name__)

_LEAVE_WITHIN_S = 15.0
"""How long ``cfab down`` waits for the chain; what is not redeemed by then is redeemed after the next start."""


def tower_views(selling: Selling) -> list[TowerView]:
    """The watchtowers that hold this node's vouchers."""
    return [
        {
            "peer_id": peer_id_of(one.peer),
            "lanes": one.lanes,
            "behind": money(one.behind),
            "trouble": one.trouble,
        }
        for one in selling.hand_over.view()
    ]


def watch_view(trading: TradingNode | None) -> WatchView | None:
    """What this node watches for others; None when it is no watchtower."""
    if trading is None or trading.tower is None:
        return None
    view = trading.tower.view()
    return {
        "providers": view.providers,
        "lanes": view.lanes,
        "leaving": view.leaving,
        "saved": money(view.saved),
        "trouble": view.trouble,
    }


async def redeem_before_leaving(trading: TradingNode | None) -> None:
    """Turn into money what is worth its gas, before a planned downtime. Never fails: the vouchers are on disk."""
    if trading is None or trading.selling is None:
        return
    with trio.move_on_after(_LEAVE_WITHIN_S):
        try:
            await trading.selling.collector.redeem_due(last=True)
        except FabricError as error:
            log.warning("vouchers stay unredeemed while this node is down: %s", error)
