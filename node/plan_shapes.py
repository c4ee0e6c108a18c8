"""What a plan and an explanation hold, as plain data that JSON can hold."""

from __future__ import annotations

from typing import TypedDict

from node.control_shapes import Money, PriceView
from node.job_events import CandidateView, ClosestChange, Matching, RejectedRule, Suggestion, WeightsView


class PlanView(TypedDict, total=False):
    """What would happen to a job now, without buying anything. ``chosen`` is the rank of the offer that would be asked
    first: the best whose cap the wallet can set aside; null when there is none. ``max_price`` is the highest price per
    GPU-hour at which the job stays within both of its limits. ``expected_ms`` is how long it is expected to run on a
    machine of speed 1000, null when nobody knows; ``earlier_runs`` says from how many runs that was learned.
    ``together`` are the ranks that a job on several ``machines`` would ask for, empty when there are too few.
    """

    name: str
    image: str
    slots: int
    machines: int
    together: list[int]
    max_duration_ms: int
    max_price: PriceView
    max_total: Money
    funds: Money | None
    expected_ms: int | None
    earlier_runs: int
    strategy: str
    weights: WeightsView
    offers: int
    matches: int
    chosen: int | None
    rejected: list[RejectedRule]
    closest: list[ClosestChange]
    suggestions: list[Suggestion]
    going_price: PriceView
    candidates: list[CandidateView]


class RefusalView(TypedDict):
    """A provider that was asked and did not grant a lease."""

    time: str
    provider: str
    reason: str
    detail: str


class AuctionView(TypedDict):
    """One auction of a job: what was seen, who refused, and the rank of the one that signed."""

    time: str
    seen: Matching
    refusals: list[RefusalView]
    chosen: int | None


class ExpectedView(TypedDict):
    """What was expected of the machine that was chosen: ``cost`` is all things counted, ``compute`` the part of it that
    is paid to the provider, ``run_ms`` how long the program would run and ``fetch_ms`` how long the machine would fetch
    image, inputs and outputs."""

    cost: Money
    compute: Money
    run_ms: int
    fetch_ms: int


class ActualView(TypedDict):
    """What came of it: what was ``paid``, how long the program ran, how long it was from the lease to its start, and
    from its end until its outputs were here. Null where that never happened."""

    paid: Money
    run_ms: int
    start_ms: int | None
    outputs_ms: int | None


class ExplainView(TypedDict, total=False):
    """Why a job went to its provider, or to nobody. Auctions that brought nothing are told up to a bound. ``now`` is
    what it would be offered at this moment, while it waits; ``waits_until`` when it gives up."""

    job: str
    name: str
    state: str
    submitted_at: str
    waits_until: str | None
    auctions: list[AuctionView]
    chosen: CandidateView | None
    expected: ExpectedView | None
    actual: ActualView | None
    now: Matching | None
