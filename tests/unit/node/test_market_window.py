"""The market as one node shows it to its owner."""

from __future__ import annotations

from typing import Any

import pytest

from market.errors import InvalidRequest
from market.knowledge import Known
from node import wire
from node.admission import pack_batch
from node.market_window import MarketWindow, open_window
from node.offer_intake import OfferIntake
from node.ports import PeerInfo
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, a_signer, an_offer, offered_by


class Node:
    """A node that hears what it is told."""

    def __init__(self) -> None:
        self.network, self.clock = RecordingNetwork(), SetClock()
        self.intake = OfferIntake(self.network, self.clock)
        self.intake.register()
        self.window: MarketWindow = open_window(self.network, self.clock, self.intake, history_file=None)

    def hears(self, owner: str, **changes: Any) -> None:
        self.intake.take(offered_by(a_signer(owner), **changes))

    def machines(self, **query: Any) -> list[str]:
        return [offer["machine"] for offer in self.window.offers(query)]


def test_offers_are_asked_for_in_words_and_flags_together() -> None:
    node = Node()
    node.hears("a", machine="a", price=3)
    node.hears("b", machine="b", price=1, region="us")
    node.hears("c", machine="c", price=2, gpu="A100")
    assert node.machines() == ["b", "c", "a"]
    assert node.machines(where="region=eu") == ["c", "a"]
    assert node.machines(where="region=eu", order="-price") == ["a", "c"]
    assert node.machines(where="region=eu", gpu="A100") == ["c"]
    assert node.machines(order="machine", limit=2) == ["a", "b"]
    for bad in ({"where": "x"}, {"order": "x"}):
        with pytest.raises(InvalidRequest):
            node.window.offers(bad)


def test_what_the_node_knows_of_a_provider_is_shown() -> None:
    node = Node()
    node.hears("near")
    key = a_signer("near").key
    node.network.known = [PeerInfo(key=key, peer_id="p", addresses=(), rtt_us=1_500)]
    assert node.window.offers({})[0]["rtt_ms"] == 1.5
    node.intake.book.know(key, Known(reputation=900, rtt_us=700))
    (offer,) = node.window.offers({"where": "reputation=0.9 rtt<1ms"})
    assert offer["rtt_ms"] == 0.7


def test_own_offers_are_marked() -> None:
    node = Node()
    node.intake.take(SELLER.sign(an_offer()))
    node.hears("other")
    assert sorted(offer["mine"] for offer in node.window.offers({})) == [False, True]


def test_depth_counts_what_the_query_leaves() -> None:
    node = Node()
    node.hears("a", price=1)
    node.hears("b", price=2, region="us")
    node.hears("c", price=3, gpu="A100")
    assert [depth["slots"] for depth in node.window.depth({"gpu": "RTX4090"})] == [4]
    assert [depth["gpu"] for depth in node.window.depth({"where": "region=us"})] == ["RTX4090"]


async def test_live_bids_are_shown_newest_first() -> None:
    node = Node()
    for number, author in enumerate((BUYER, SELLER)):
        bid = author.sign(a_bid(requester=author.key, bid_id=bytes([number]) * 16))
        node.network.judges[wire.TOPIC_BIDS](BUYER.key, pack_batch([bid]))
    assert [(bid["bid"][:2], bid["mine"]) for bid in node.window.bids()] == [("01", True), ("00", False)]


def test_history_goes_back_as_far_as_asked() -> None:
    node = Node()
    node.hears("a", price=1)
    history = node.window._prices.history
    history.close(node.intake.book.live(NOW), NOW)
    assert [bar["median"]["nano_per_gpu_second"] for bar in node.window.history({})] == [1]
    node.clock.now = NOW + 10_000
    assert node.window.history({"over_ms": 5_000}) == []
    assert len(node.window.history({"over_ms": 20_000, "gpu": "rtx4090", "step_ms": 3_600_000})) == 1
