"""Plans and explanations, from a look at the book and from a job's own history. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, cast

from market.ask import Ask
from market.explain import WhyNot
from market.gang import pick_gang
from market.matching import Shortlist
from node.control import TERMINAL_STATES, money, price_view
from node.job_file.request import JobRequest
from node.job_journal import WAITING_FOR_OFFERS, state_of
from node.job_terms import is_scattered, name_binding_cap
from node.match_view import describe_match
from node.plan_shapes import ActualView, AuctionView, ExpectedView, ExplainView, PlanView

Event = dict[str, Any]


def plan_view(
    request: JobRequest, ask: Ask, found: Shortlist, reasons: WhyNot, *, funds: int | None, earlier_runs: int = 0
) -> PlanView:
    """What an auction for a request would see and do now.

    Args:
        request: the job.
        ask: what its auction would be held for.
        found, reasons: what it would be offered, and why not more.
        funds: what can be set aside, token units; None while that is not known.
        earlier_runs: how many runs of such jobs the expected duration comes from.
    """
    together = _together(request, found)
    affordable = [rank for rank, match in enumerate(found.matches, 1) if funds is None or match.cap <= funds]
    if request.machines > 1:
        needed = sum(found.matches[rank - 1].cap for rank in together)
        affordable = together if funds is None or needed <= funds else []
    view = {
        "name": request.name,
        "image": request.spec.image,
        "slots": ask.requirements.slots,
        "machines": request.machines,
        "together": together,
        "max_duration_ms": ask.job.max_ms,
        "max_price": price_view(ask.limits.max_price),
        "max_total": money(request.max_total),
        "funds": None if funds is None else money(funds),
        "expected_ms": ask.job.work_ms * ask.job.work_speed // 1000 or None,
        "earlier_runs": earlier_runs,
        "chosen": affordable[0] if affordable else None,
        **name_binding_cap(describe_match(found, reasons, ask), request),
    }
    return cast("PlanView", view)


def _together(request: JobRequest, found: Shortlist) -> list[int]:
    """The ranks of the machines that a gang would ask for."""
    if request.machines == 1:
        return []
    chosen = pick_gang(found.matches, request.machines, scattered=is_scattered(request)) or ()
    return [rank for rank, match in enumerate(found.matches, 1) if match in chosen]


def explain_view(
    job: str, request: JobRequest, events: list[Event], *, now: dict[str, Any] | None = None
) -> ExplainView:
    """What became of a job and why, out of its history.

    Args:
        job: its id.
        request: as its owner wrote it.
        events: its whole history.
        now: what it would be offered at this moment, for a job that waits.
    """
    state, slots = state_of(events), max(1, request.spec.requirements.slots)
    auctions = _auctions(events)
    chosen = next((_chosen(one) for one in reversed(auctions) if one["chosen"] is not None), None)
    waiting = next((event for event in events if event["type"] == WAITING_FOR_OFFERS), None)
    view = {
        "job": job,
        "name": request.name,
        "state": state,
        "submitted_at": events[0]["time"],
        "waits_until": waiting["until"] if waiting and state == "queued" else None,
        "auctions": auctions,
        "chosen": chosen,
        "expected": _expected(chosen) if chosen else None,
        "actual": _actual(events, slots=slots) if chosen and state in TERMINAL_STATES else None,
        "now": now,
    }
    return cast("ExplainView", view)


def _auctions(events: Iterable[Event]) -> list[AuctionView]:
    told: list[Any] = []
    for event in events:
        if event["type"] == "matching":
            seen = {key: value for key, value in event.items() if key not in ("seq", "time", "type")}
            told.append({"time": event["time"], "seen": seen, "refusals": [], "chosen": None})
        elif told and event["type"] == "refused":
            told[-1]["refusals"].append({key: event.get(key, "") for key in ("time", "provider", "reason", "detail")})
        elif told and event["type"] == "leased":
            told[-1]["chosen"] = _rank_of(told[-1]["seen"], event)
    return told


def _rank_of(seen: Event, leased: Event) -> int | None:
    for candidate in seen.get("candidates", ()):
        if (candidate["provider"], candidate["machine"]) == (leased["provider"], leased["machine"]):
            return int(candidate["rank"])
    return None


def _chosen(auction: AuctionView) -> Any:
    return next(one for one in auction["seen"]["candidates"] if one["rank"] == auction["chosen"])


def _expected(chosen: Event) -> ExpectedView | None:
    if "cost" not in chosen:
        return None  # auctioned by an older version of the program
    return {
        "cost": chosen["expected_cost"],
        "compute": chosen["cost"]["compute"],
        "run_ms": chosen["expected_ms"],
        "fetch_ms": chosen["image_ms"] + chosen["transfer_ms"],
    }


def _actual(events: list[Event], *, slots: int) -> ActualView:
    last = {event["type"]: event for event in events}
    paid = last.get("paid")
    return {
        "paid": paid["amount"] if paid else money(0),
        "run_ms": int(paid["gpu_ms"]) // slots if paid else 0,
        "start_ms": _between(last.get("leased"), last.get("running")),
        "outputs_ms": _between(last.get("exited"), last.get("outputs")),
    }


def _between(earlier: Event | None, later: Event | None) -> int | None:
    if earlier is None or later is None:
        return None
    took = _moment(later["time"]) - _moment(earlier["time"])
    return max(0, took // datetime.timedelta(milliseconds=1))


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
