"""Bids and price history as the plain data that the API and the light client show. Pure."""

from __future__ import annotations

from market import codec
from market.price_history import Bar
from market.records import Bid
from market.signing import Verified, digest
from node.control import price_view, rfc3339
from node.market_shapes import BidView, HistoryBar


def bid_view(bid: Verified[Bid], *, mine: bool) -> BidView:
    """One line of ``cfab bids``."""
    record, needs = bid.record, bid.record.requirements
    return {
        "bid": record.bid_id.hex(),
        "requester": record.requester.hex(),
        "mine": mine,
        "strategy": record.strategy,
        "gpus": list(needs.gpus),
        "slots": needs.slots,
        "vram_mib": needs.vram_mib,
        "vram_max_mib": needs.vram_max_mib,
        "cpu_milli": needs.cpu_milli,
        "memory_mib": needs.memory_mib,
        "disk_mib": needs.disk_mib,
        "regions": list(needs.regions),
        "jurisdictions": list(needs.jurisdictions),
        "interruptible": needs.interruptible,
        "simulated": needs.allow_simulated,
        "issued_at": rfc3339(record.issued_at),
        "expires_at": rfc3339(record.expires_at),
    }


def bar_view(bar: Bar) -> HistoryBar:
    """One bar of ``cfab history``."""
    return {
        "gpu": bar.gpu,
        "simulated": bar.simulated,
        "closed_at": rfc3339(bar.closed_at),
        "span_s": bar.span_ms // 1000,
        "offers": bar.offers,
        "providers": bar.providers,
        "slots": bar.slots,
        "lowest": price_view(bar.lowest),
        "median": price_view(bar.median),
        "dearest": price_view(bar.dearest),
        "evidence": [digest(codec.unpack(raw)["body"]).hex() for raw in dict.fromkeys(bar.evidence())],
    }
