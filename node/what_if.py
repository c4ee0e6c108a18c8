"""``cfab whatif``: from what an auction would see now to one answer: how many fit, what it costs, when it starts. Pure.

The start is an estimate: the time to put money aside, the time to make and start a container, and the time to fetch the
image, where the machine has it not, and the inputs over the machine's line. The first two are typical figures, not
promises: a deposit takes a block of the chain, and none when a lane still holds enough.
"""

from __future__ import annotations

from node.plan_shapes import PlanView
from node.what_if_shapes import StartView, WhatIfView

FUNDING_MS = 2_000
"""A block of a chain that makes one every two seconds."""
CONTAINER_MS = 1_500
"""An award, its answer, a container made and started, and the first report of it."""


def what_if(plan: PlanView) -> WhatIfView:
    """The answer for a job, out of its plan."""
    candidates = plan["candidates"]
    best = next((one for one in candidates if one["rank"] == (plan["chosen"] or 1)), None)
    start: StartView | None = None
    if best is not None:
        start = {
            "funding_ms": FUNDING_MS,
            "container_ms": CONTAINER_MS,
            "image_ms": best["image_ms"],
            "inputs_ms": best["transfer_ms"],
            "total_ms": FUNDING_MS + CONTAINER_MS + best["image_ms"] + best["transfer_ms"],
        }
    return {
        "offers": plan["offers"],
        "matches": plan["matches"],
        "best": best,
        "start": start,
        "affordable": plan["funds"] is None or plan["chosen"] is not None or best is None,
        "going_price": plan["going_price"],
        "rejected": plan["rejected"],
        "closest": plan["closest"],
        "suggestions": plan["suggestions"],
    }
