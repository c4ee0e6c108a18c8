"""How much of each GPU model is free at which price. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from market.feasibility import same_model
from market.price_history import model_of
from node.control import OfferView
from node.market_shapes import DepthLevel, DepthView


def depth_of(offers: Iterable[OfferView], gpu: str = "") -> list[DepthView]:
    """One depth for each model among the offers, the one with most free slots first; of ``gpu`` alone if given."""
    by_model: dict[tuple[str, bool], list[OfferView]] = defaultdict(list)
    for offer in offers:
        if offer["free_slots"] > 0 and (not gpu or same_model(offer["gpu"], gpu)):
            by_model[model_of(offer["gpu"]), offer["simulated"]].append(offer)
    depths = [_depth(model, simulated, found) for (model, simulated), found in by_model.items()]
    return sorted(depths, key=lambda depth: (-depth["slots"], depth["gpu"], depth["simulated"]))


def _depth(model: str, simulated: bool, offers: list[OfferView]) -> DepthView:
    levels: dict[int, DepthLevel] = {}
    providers: set[str] = set()
    total = 0
    for offer in sorted(offers, key=lambda offer: offer["price"]["nano_per_gpu_second"]):
        price, free = offer["price"], offer["free_slots"]
        level = levels.setdefault(
            price["nano_per_gpu_second"], {"price": price, "slots": 0, "cumulative": 0, "providers": 0}
        )
        total += free
        providers.add(offer["provider"])
        level["slots"] += free
        level["cumulative"], level["providers"] = total, len(providers)
    return {
        "gpu": model,
        "simulated": simulated,
        "slots": total,
        "providers": len(providers),
        "levels": list(levels.values()),
    }
