"""From all offers to those that are shown, and what is wrong with a query before anybody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from market.errors import InvalidRequest
from node.offer_choice import check_choice, choose_depth, choose_offers
from node.views import offer_view
from tests.fakes.samples import a_signer, offered_by

OFFERS = [
    offer_view(offered_by(a_signer(name), machine=name, price=price, gpu=gpu), free_slots=2, mine=False)
    for name, price, gpu in [("a", 3, "RTX4090"), ("b", 1, "RTX4090"), ("c", 2, "A100"), ("d", 4, "RTX4090 Laptop")]
]


@pytest.mark.parametrize(
    ("query", "machines"),
    [
        ({}, "bcad"),
        ({"limit": 2}, "bc"),
        ({"where": "gpu=RTX4090"}, "ba"),
        ({"gpu": "RTX4090"}, "bad"),
        ({"gpu": "RTX4090", "where": "machine!=b", "order": "-price"}, "da"),
    ],
)
def test_flags_query_order_and_limit_work_together(query: dict[str, Any], machines: str) -> None:
    assert "".join(offer["machine"] for offer in choose_offers(OFFERS, query)) == machines


def test_depth_is_of_the_very_model() -> None:
    (depth,) = choose_depth(OFFERS, {"gpu": "RTX4090"})
    assert (depth["gpu"], depth["slots"]) == ("RTX4090", 4)
    assert choose_depth(OFFERS, {"gpu": "RTX4090", "where": "machine=c"}) == []


@pytest.mark.parametrize("query", [{"where": "x"}, {"order": "x"}, {"max_price": "cheap"}])
def test_a_wrong_query_is_found_without_any_offer(query: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        check_choice(query)
    check_choice({})
