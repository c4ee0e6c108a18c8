"""What a light client saw, as plain data."""

from __future__ import annotations

import json
from typing import get_type_hints

from node.light_check import MAX_NAMED, Discrepancy
from node.light_client import Report, Sighting
from node.light_views import report_view, sighting_views
from node.market_shapes import OfferRef, PeerReport
from tests.fakes.samples import BUYER, SELLER, an_offer

OFFER, OLDER = SELLER.sign(an_offer(version=5)), SELLER.sign(an_offer(version=4))


def test_an_offer_says_how_many_peers_show_it() -> None:
    (view,) = sighting_views([Sighting(OFFER, 3)], {SELLER.key: 1_500})
    assert (view["seen_by"], view["rtt_ms"], view["mine"], view["free_slots"]) == (3, 1.5, False, 2)
    assert sighting_views([Sighting(OFFER, 1)], {})[0]["rtt_ms"] is None


def test_a_report_names_what_was_done() -> None:
    report = Report(BUYER.key, answered=True)
    report.complete, report.shown = True, 7
    report.hides = [Discrepancy(true=OFFER)]
    report.stale = [Discrepancy(true=OFFER, shown=OLDER)] * (MAX_NAMED + 5)
    report.forged["bad_signature"] += 2
    view = report_view(report, ("/ip4/203.0.113.7/tcp/1",))
    assert json.loads(json.dumps(view)) == view
    assert set(view) == set(get_type_hints(PeerReport))
    assert set(view["hides"][0]) == set(get_type_hints(OfferRef))
    assert (view["hides"][0]["version"], view["hides"][0]["shown"]) == (5, None)
    assert (view["stale"][0]["version"], view["stale"][0]["shown"]) == (5, 4)
    assert len(view["stale"]) == MAX_NAMED
    assert (view["forges"], view["offers"], view["answered"]) == ({"bad_signature": 2}, 7, True)
