"""What a request means for an auction: the limits that stay at home, and the whole ask. Pure."""

from __future__ import annotations

from market import money
from market.ask import Ask, JobFacts
from market.feasibility import Limits
from market.strategies import weights_of
from node.auction import Purse
from node.job_file.request import JobRequest


def total_limit_price(request: JobRequest) -> int:
    """The highest price, nanotokens per GPU-second, at which the job's cap stays within ``max_total``."""
    gpu_ms = request.spec.max_duration_ms * request.spec.requirements.slots
    return min(request.max_price, request.max_total * money.NANO_MS_PER_UNIT // gpu_ms)


def limits_of(request: JobRequest, purse: Purse) -> Limits:
    """What its owner keeps to himself: the price cap, friends and foes, and where the money lies."""
    return Limits(
        max_price=total_limit_price(request),
        chain_id=purse.chain_id,
        escrow=purse.escrow,
        max_rtt_us=request.max_rtt_us,
        allow=tuple(bytes.fromhex(key) for key in request.allow),
        deny=tuple(bytes.fromhex(key) for key in request.deny),
    )


def ask_of_request(request: JobRequest, job: JobFacts, purse: Purse, *, bid_id: bytes = bytes(16)) -> Ask:
    """The ask behind a job.

    Args:
        request: as its owner wrote it.
        job: what is known of it.
        purse: who pays.
        bid_id: breaks ties in the ranking; without one they are broken in another order than in the auction to come.
    """
    return Ask(
        bid_id=bid_id,
        requirements=request.spec.requirements,
        weights=weights_of(request.strategy, request.weights),
        limits=limits_of(request, purse),
        job=job,
    )
