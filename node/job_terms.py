"""What a request means for an auction: the limits that stay at home, and the whole ask. Pure."""

from __future__ import annotations

from typing import Any

from market import money
from market.ask import Ask, JobFacts
from market.feasibility import Limits
from market.strategies import weights_of
from node.auction import Purse
from node.job_file.request import JobRequest


def total_limit_price(request: JobRequest) -> int:
    """The highest price, nanotokens per GPU-second, at which the job's cap stays within ``max_total``, of which each
    machine of a gang has an equal share."""
    gpu_ms = request.spec.max_duration_ms * request.spec.requirements.slots
    return min(request.max_price, request.max_total // request.machines * money.NANO_MS_PER_UNIT // gpu_ms)


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


def is_scattered(request: JobRequest) -> bool:
    """Whether the machines of a gang must not be near each other."""
    return request.strategy == "high_availability"


def name_binding_cap(seen: dict[str, Any], request: JobRequest) -> dict[str, Any]:
    """What an auction saw, with its changes in the words of the request.

    An auction knows one price cap. A job has two caps: where the price it was given would do and its total would not,
    raising the price would not help.
    """

    def renamed(changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        slots = next((one["value"] for one in changes if one["field"] == "slots"), request.spec.requirements.slots)
        return [_renamed(one, request, slots) for one in changes]

    named = {**seen, "closest": [renamed([one])[0] for one in seen["closest"]]}
    if "suggestions" in seen:
        named["suggestions"] = [{**one, "changes": renamed(one["changes"])} for one in seen["suggestions"]]
    return named


def _renamed(change: dict[str, Any], request: JobRequest, slots: int) -> dict[str, Any]:
    if change["field"] != "max_price" or change["value"] > request.max_price:
        return change
    total = request.machines * money.amount_due(change["value"], request.spec.max_duration_ms * slots)
    return {**change, "field": "max_total", "value": total}
