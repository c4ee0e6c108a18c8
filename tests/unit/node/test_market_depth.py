"""Depth: what is free at which price."""

from __future__ import annotations

from typing import Any

from node.control import OfferView
from node.market_depth import depth_of
from node.views import offer_view
from tests.fakes.samples import a_signer, offered_by


def shown(owner: str, price: int, free: int, **changes: Any) -> OfferView:
    offer = offered_by(a_signer(owner), machine=f"m{price}", price=price, free_slots=free, total_slots=9, **changes)
    return offer_view(offer, free_slots=free, mine=False)


def levels(depth: Any) -> list[tuple[int, int, int, int]]:
    return [
        (level["price"]["nano_per_gpu_second"], level["slots"], level["cumulative"], level["providers"])
        for level in depth["levels"]
    ]


def test_slots_add_up_from_the_cheapest() -> None:
    offers = [shown("a", 30, 4), shown("b", 10, 1), shown("a", 20, 2), shown("c", 20, 3), shown("d", 5, 0)]
    (depth,) = depth_of(offers)
    assert levels(depth) == [(10, 1, 1, 1), (20, 5, 6, 3), (30, 4, 10, 3)]
    assert (depth["gpu"], depth["slots"], depth["providers"]) == ("RTX4090", 10, 3)


def test_each_model_has_its_own_and_simulated_cards_too() -> None:
    offers = [
        shown("a", 1, 1, gpu="NVIDIA A100-SXM4-80GB"),
        shown("b", 2, 2, gpu="NVIDIA A100 80GB PCIe"),
        shown("c", 3, 9, gpu="RTX4090", simulated=True),
        shown("d", 4, 1, gpu="RTX4090"),
    ]
    found = [(depth["gpu"], depth["simulated"], depth["slots"]) for depth in depth_of(offers)]
    assert found == [("RTX4090", True, 9), ("A100", False, 3), ("RTX4090", False, 1)]
    assert [depth["gpu"] for depth in depth_of(offers, "a100")] == ["A100"]
    assert depth_of(offers, "H100") == []
