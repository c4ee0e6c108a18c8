"""What a node shows of its market, put together as the node program does, without a file to keep anything in."""

from __future__ import annotations

from node.history_desk import HistoryDesk
from node.market_window import MarketWindow
from node.offer_intake import OfferIntake
from node.ports import Clock, Network
from node.public_desk import PublicDesk


def a_window(network: Network, clock: Clock, intake: OfferIntake) -> MarketWindow:
    """The window of a node, with its desks answering peers."""
    prices = HistoryDesk(network, clock, intake.book.live, path=None)
    bids = PublicDesk(network, clock, intake.bids_heard.values)
    prices.register()
    bids.register()
    return MarketWindow(network, clock, intake, bids=bids, prices=prices)
