"""From all offers to those that ``cfab offers`` and ``cfab depth`` show: flags, query, order, limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from market.money import parse_hourly_price
from node.control import Json, OfferView
from node.market_depth import depth_of
from node.market_shapes import DepthView
from node.offer_query import arrange, parse_order, parse_query
from node.views import wanted


def check_choice(query: Json) -> None:
    """Whether a query can be understood, before anything is asked for.

    Raises:
        InvalidRequest: ``bad_query``, with the column; or a bad price.
    """
    choose_offers((), query)
    if price := query.get("max_price"):
        parse_hourly_price(str(price))


def choose_offers(offers: Iterable[OfferView], query: Json) -> list[OfferView]:
    """As :meth:`node.control.NodeControl.offers`."""
    order = parse_order(str(query.get("order") or ""))
    return arrange(_chosen(offers, query), order)[: int(query.get("limit") or 1000)]


def choose_depth(offers: Iterable[OfferView], query: Json) -> list[DepthView]:
    """As :meth:`node.control.NodeControl.depth`; the model must be exactly that."""
    return depth_of(_chosen(offers, {**query, "gpu": ""}), str(query.get("gpu") or ""))


def _chosen(offers: Iterable[OfferView], query: Json) -> Iterator[OfferView]:
    asked = parse_query(str(query.get("where") or ""))
    return (offer for offer in offers if wanted(offer, query) and asked.wants(offer))
