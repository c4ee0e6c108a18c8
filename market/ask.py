"""Everything that decides an auction besides the book and the time: one value, so that it can be replayed.

A bid shows only part of it. The rest, the price cap above all, stays with the requester (and goes into its transcript).
"""

from __future__ import annotations

from msgspec import Struct

from market.feasibility import Limits
from market.records import Bid, JobSpec, Requirements
from market.strategies import Weights, weights_of

MIB = 1 << 20


class JobFacts(Struct, frozen=True, kw_only=True):
    """What is known of a job beforehand that makes one machine cheaper for it than another.

    Attributes:
        max_ms: the longest it may run.
        work_ms: how long it is expected to run on a machine of ``work_speed``; 0 when nobody knows, then every machine
            is expected to need ``max_ms``.
        work_speed: 1000 is one A100; see :mod:`market.speeds`.
        image: the image as the job names it.
        image_mib: what a provider without the image must fetch; 0 when not known.
        moved_mib: inputs and outputs together.
        waiting: what a second of waiting is worth to the requester, nanotokens; None: the going price of a slot.
    """

    max_ms: int
    work_ms: int = 0
    work_speed: int = 1000
    image: str = ""
    image_mib: int = 0
    moved_mib: int = 0
    waiting: int | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """A bid with the requester's private part. ``issued_at`` decides only whose turn it is among rivals."""

    bid_id: bytes
    requirements: Requirements
    weights: Weights
    limits: Limits
    job: JobFacts
    issued_at: int = 0


def ask_of(bid: Bid, limits: Limits, job: JobFacts) -> Ask:
    """The whole ask behind one's own bid.

    Raises:
        InvalidRequest: the bid's strategy or weights make no sense.
    """
    return Ask(
        bid_id=bid.bid_id,
        requirements=bid.requirements,
        weights=weights_of(bid.strategy, bid.weights),
        limits=limits,
        job=job,
        issued_at=bid.issued_at,
    )


def facts_of_spec(spec: JobSpec) -> JobFacts:
    """What the spec alone says of a job."""
    moved = sum(item.size for item in spec.inputs)
    return JobFacts(max_ms=spec.max_duration_ms, image=spec.image, moved_mib=-(-moved // MIB))
