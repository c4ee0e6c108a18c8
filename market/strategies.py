"""What "best" means: four integer weights over the same four documented terms. Smallest score wins.

The score of a feasible offer is

    cost × 1000 × E  +  R × (speed × (1000 − perf) + reliability × (1000 − rep) + latency × min(rtt, 1000))

with *E* the expected total cost (:mod:`market.offer_row`), *R* what the job would cost on a machine of the going price,
*perf* and *rep* in permille and *rtt* in milliseconds. *R* puts the three other terms on the scale of money, so that a
weight means the same for a cheap card and a dear one. The named vectors are those measured in the matching laboratory.
"""

from __future__ import annotations

from market.errors import InvalidRequest

Weights = tuple[int, int, int, int]
"""``(cost, speed, reliability, latency)``, each 0..1000, not all zero."""

STRATEGIES: dict[str, Weights] = {
    "lowest_cost": (100, 0, 0, 0),
    "best_performance": (10, 78, 8, 4),
    "balanced": (50, 25, 19, 6),
    "high_availability": (16, 8, 70, 6),
}
CUSTOM = "custom"
TERMS = ("cost", "speed", "reliability", "latency")


def weights_of(strategy: str, custom: tuple[int, ...] = ()) -> Weights:
    """The weights of a strategy by name; those of ``custom`` are given.

    Raises:
        InvalidRequest: an unknown name, or custom weights that are not four numbers from 0 to 1000 with one above 0.
    """
    if strategy != CUSTOM:
        if strategy not in STRATEGIES:
            known = ", ".join((*STRATEGIES, CUSTOM))
            raise InvalidRequest(f"unknown strategy '{strategy[:40]}'", code="unknown_strategy", fix=f"one of {known}")
        return STRATEGIES[strategy]
    if len(custom) != len(TERMS) or not all(0 <= weight <= 1000 for weight in custom) or not any(custom):
        raise InvalidRequest(
            "custom weights are four numbers from 0 to 1000, one of them above 0",
            code="bad_weights",
            fix="as in custom: {cost: 60, speed: 20, reliability: 15, latency: 5}",
        )
    cost, speed, reliability, latency = custom
    return cost, speed, reliability, latency
