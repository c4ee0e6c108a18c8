"""What ``cfab whatif`` says, as plain data that JSON can hold."""

from __future__ import annotations

from typing import TypedDict

from node.control_shapes import PriceView
from node.job_events import CandidateView, ClosestChange, RejectedRule, Suggestion


class StartView(TypedDict):
    """When the program would run, in milliseconds from now: an estimate, of which ``funding_ms`` and ``container_ms``
    are typical figures."""

    funding_ms: int
    container_ms: int
    image_ms: int
    inputs_ms: int
    total_ms: int


class WhatIfView(TypedDict):
    """What a job would meet now. ``best`` is the offer that would be asked first, null when none fits; ``affordable``
    is false when the node's wallet cannot set aside what any of them needs. ``rejected`` says by which rule the others
    do not fit, and ``closest`` what would let one match."""

    offers: int
    matches: int
    best: CandidateView | None
    start: StartView | None
    affordable: bool
    going_price: PriceView
    rejected: list[RejectedRule]
    closest: list[ClosestChange]
    suggestions: list[Suggestion]
