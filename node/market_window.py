"""The market as one node sees it, as the plain data that its owner asks for: offers, bids, depth, price history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from node import views
from node.control import Json, OfferView
from node.history_desk import HistoryDesk
from node.market_shapes import BidView, DepthView, HistoryBar
from node.market_views import bar_view, bid_view
from node.offer_choice import choose_depth, choose_offers
from node.offer_intake import OfferIntake
from node.ports import Clock, Network
from node.public_desk import PublicDesk


def open_window(network: Network, clock: Clock, intake: OfferIntake, *, history_file: Path | None) -> MarketWindow:
    """The window of a node. From now on it shows peers what it sees, too.

    Args:
        history_file: where prices are kept over restarts, None to forget them.
    """
    prices = HistoryDesk(network, clock, intake.book.live, path=history_file)
    bids = PublicDesk(network, clock, intake.bids_heard.values)
    prices.register()
    bids.register()
    return MarketWindow(network, clock, intake, bids=bids, prices=prices)


class MarketWindow:
    """Reads what others wrote: the book, the bids that were heard, the history."""

    def __init__(
        self, network: Network, clock: Clock, intake: OfferIntake, *, bids: PublicDesk, prices: HistoryDesk
    ) -> None:
        self._network = network
        self._clock = clock
        self._intake = intake
        self._bids = bids
        self._prices = prices

    async def keep_history_forever(self) -> None:
        """Note prices as time goes by, until cancelled."""
        await self._prices.keep_forever()

    def offers(self, query: Json) -> list[OfferView]:
        """As :meth:`node.control.NodeControl.offers`."""
        return choose_offers(self._views(), query)

    def depth(self, query: Json) -> list[DepthView]:
        """As :meth:`node.control.NodeControl.depth`."""
        return choose_depth(self._views(), query)

    def bids(self) -> list[BidView]:
        """As :meth:`node.control.NodeControl.bids`."""
        return [bid_view(bid, mine=bid.signer == self._network.key) for bid in self._bids.live()]

    def history(self, query: Json) -> list[HistoryBar]:
        """As :meth:`node.control.NodeControl.history`."""
        over_ms = int(query.get("over_ms") or 0)
        since = max(0, self._clock.now_ms() - over_ms) if over_ms else 0
        step_ms = int(query.get("step_ms") or 0)
        return [
            bar_view(bar)
            for bar in self._prices.history.bars(str(query.get("gpu") or ""), since=since, step_ms=step_ms)
        ]

    def _views(self) -> Iterator[OfferView]:
        book, rtts = self._intake.book, {peer.key: peer.rtt_us for peer in self._network.peers()}
        for offer in book.live(self._clock.now_ms()):
            provider = offer.record.provider
            yield views.offer_view(
                offer,
                free_slots=book.free_slots(offer.record),
                mine=provider == self._network.key,
                known=book.known(provider),
                rtt_us=rtts.get(provider, 0),
            )
