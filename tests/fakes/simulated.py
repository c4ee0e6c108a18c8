"""Machines and jobs of the simulator with every value plain, for tests to change one at a time."""

from __future__ import annotations

from typing import Any

from market.offer_row import ALL, Query, Row
from market.simulation.world import FOREVER

WIDE = 2**31 - 1


def a_machine(handle: int, **changes: Any) -> Row:
    """One slot at 100, without flaws."""
    plain = dict.fromkeys(Row._fields, 0) | {
        "handle": handle,
        "id": handle.to_bytes(32, "big"),
        "tie": handle,
        "provider": handle,
        "expires": FOREVER,
        "price": 100,
        "free": 1,
        "notice": WIDE,
        "reputation": 1000,
        "rtt_us": 1,
        "venue": 1,
        "region": 1,
        "jurisdiction": 1,
        "runtimes": 1,
        "speed": 1000,
        "images": frozenset(),
    }
    return Row(**(plain | changes))


def a_job(tie: int = 1, **changes: Any) -> Query:
    """One slot for a second, for at most 200, whichever is the cheapest."""
    plain = dict.fromkeys(Query._fields, 0) | {
        "tie": tie,
        "classes": (0,),
        "venue": 1,
        "max_price": 200,
        "slots": 1,
        "vram_max": WIDE,
        "notice": WIDE,
        "regions": ALL,
        "jurisdictions": ALL,
        "runtimes": 1,
        "allow": None,
        "deny": frozenset(),
        "work_ms": 1000,
        "paced": False,
        "max_ms": 1000,
        "reference": 100,
        "w_cost": 100,
    }
    return Query(**(plain | changes))
