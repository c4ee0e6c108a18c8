"""What a light client saw, as plain data: offers with the number of peers that show them, and what each did. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bootstrap.identity import peer_id_of
from node.control import OfferView
from node.light_check import MAX_NAMED, Discrepancy
from node.light_client import Report, Sighting
from node.market_shapes import OfferRef, PeerReport
from node.views import offer_view


def sighting_views(sightings: Iterable[Sighting], rtts: Mapping[bytes, int]) -> list[OfferView]:
    """Lines of ``cfab --light offers``. ``rtts`` are measured round trips in microseconds, by peer."""
    views: list[OfferView] = []
    for sighting in sightings:
        record = sighting.offer.record
        view = offer_view(sighting.offer, free_slots=record.free_slots, mine=False, rtt_us=rtts.get(record.provider, 0))
        view["seen_by"] = sighting.seen_by
        views.append(view)
    return views


def report_view(report: Report, addresses: tuple[str, ...]) -> PeerReport:
    """What one peer did."""
    return {
        "peer": report.peer.hex(),
        "peer_id": peer_id_of(report.peer),
        "addresses": list(addresses),
        "answered": report.answered,
        "complete": report.complete,
        "offers": report.shown,
        "hides": [_ref(one) for one in report.hides[:MAX_NAMED]],
        "stale": [_ref(one) for one in report.stale[:MAX_NAMED]],
        "forges": dict(report.forged),
    }


def _ref(one: Discrepancy) -> OfferRef:
    record = one.true.record
    return {
        "provider": record.provider.hex(),
        "machine": record.machine,
        "version": record.version,
        "shown": one.shown.record.version if one.shown else None,
    }
