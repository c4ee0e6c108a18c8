"""Bids and bars of prices as plain data."""

from __future__ import annotations

import json
from typing import get_type_hints

from market.price_history import take_bars
from market.records import Requirements
from node.market_shapes import BidView, HistoryBar
from node.market_views import bar_view, bid_view
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, an_offer


def test_a_bid_shows_what_it_needs() -> None:
    needs = Requirements(gpus=("A100",), slots=2, jurisdictions=("eu",), interruptible=True, allow_simulated=True)
    view = bid_view(BUYER.sign(a_bid(requirements=needs)), mine=True)
    assert json.loads(json.dumps(view)) == view
    assert set(view) == set(get_type_hints(BidView))
    assert (view["gpus"], view["slots"], view["jurisdictions"]) == (["A100"], 2, ["eu"])
    assert (view["interruptible"], view["simulated"], view["mine"]) == (True, True, True)


def test_a_bar_names_its_evidence_once() -> None:
    cheap, dear = SELLER.sign(an_offer(price=1)), SELLER.sign(an_offer(price=3, machine="m1"))
    (bar,) = take_bars([cheap, dear], NOW)
    view = bar_view(bar)
    assert json.loads(json.dumps(view)) == view
    assert set(view) == set(get_type_hints(HistoryBar))
    assert view["evidence"] == [cheap.id.hex(), dear.id.hex()]
    assert (view["lowest"]["nano_per_gpu_second"], view["dearest"]["nano_per_gpu_second"]) == (1, 3)
    assert view["span_s"] == 600
