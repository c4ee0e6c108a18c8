"""Records and states as the plain data that the API shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from ledger.lane import LaneSummary
from market import money as amounts
from market.knowledge import STRANGER, Known
from market.lease import OVER, LeaseState, at_risk
from market.records import Offer, UsageReport
from market.signing import Verified, verify
from market.usage import receipt_id
from node.control import JobView, OfferView, ReceiptView, money, price_view, rfc3339
from node.control_shapes import GangView, LaneView
from node.job_journal import Submitted, state_of
from node.lease_board import LeaseBoard

if TYPE_CHECKING:
    from ledger.evm_chain import ChainHealth


def offer_view(
    offer: Verified[Offer], *, free_slots: int, mine: bool, known: Known = STRANGER, rtt_us: int = 0
) -> OfferView:
    """One line of ``cfab offers``. ``known`` is what we know of its provider; ``rtt_us`` serves where that has none."""
    record, rtt_us = offer.record, known.rtt_us or rtt_us
    return {
        "offer": offer.id.hex(),
        "provider": record.provider.hex(),
        "mine": mine,
        "machine": record.machine,
        "gpu": record.gpu,
        "simulated": record.simulated,
        "free_slots": free_slots,
        "total_slots": record.total_slots,
        "vram_mib": record.vram_mib,
        "cpu_milli": record.cpu_milli,
        "memory_mib": record.memory_mib,
        "disk_mib": record.disk_mib,
        "price": price_view(record.price),
        "region": record.region,
        "jurisdiction": record.jurisdiction,
        "isolation": record.isolation,
        "runtimes": list(record.runtimes),
        "driver": record.driver,
        "cuda_milli": record.cuda_milli,
        "interruptible": record.interruptible,
        "notice_ms": record.notice_ms,
        "speed": record.speed,
        "net_mbps": record.net_mbps,
        "reputation": known.reputation,
        "rtt_ms": rtt_us / 1000 if rtt_us else None,
        "expires_at": rfc3339(record.expires_at),
    }


def wanted(offer: OfferView, query: dict[str, Any]) -> bool:
    """Whether an offer passes the flags of ``cfab offers``."""
    return (
        (not query.get("gpu") or str(query["gpu"]).lower() in offer["gpu"].lower())
        and (not query.get("region") or offer["region"].startswith(str(query["region"])))
        and offer["vram_mib"] >= int(query.get("min_vram_mib") or 0)
        and (not query.get("free") or offer["free_slots"] > 0)
        and (query.get("simulated") is not False or not offer["simulated"])
        and offer["price"]["nano_per_gpu_second"] <= _cap(query)
    )


def job_view(job_id: str, submitted: Submitted, events: list[dict[str, Any]], board: LeaseBoard | None) -> JobView:
    """One line of ``cfab ps``, derived from the job's history."""
    first: dict[str, dict[str, Any]] = {}
    last: dict[str, dict[str, Any]] = {}
    for event in events:
        first.setdefault(event["type"], event)
        last[event["type"]] = event
    state = state_of(events)
    leased, exited = last.get("leased"), last.get("exited")
    terminal = last.get(state) if state in ("succeeded", "failed", "cancelled") else None
    requirements = submitted.spec.requirements
    return {
        "job": job_id,
        "name": submitted.request.name,
        "gang": None if submitted.gang is None else cast("GangView", msgspec.to_builtins(submitted.gang)),
        "state": state,
        "image": submitted.spec.image,
        "gpu": leased["gpu"] if leased else ",".join(requirements.gpus) or "any",
        "provider": leased["provider"] if leased else None,
        "lease": leased["lease"] if leased else None,
        "price": leased["price"] if leased else None,
        "submitted_at": events[0]["time"],
        "started_at": first["running"]["started_at"] if "running" in first else None,
        "finished_at": terminal["time"] if terminal else None,
        "exit_code": _exit_code(exited, board),
        "exit_reason": exited["reason"] if exited else None,
        "spent": last["paid"]["amount"] if "paid" in last else money(0),
        "cap": leased["cap"] if leased else None,
        "error": _error(terminal) if state == "failed" else None,
        "receipt": receipt_view(board, job_id)["receipt"] if board and board.newest_paid else None,
        "outputs": last["outputs"]["files"] if "outputs" in last else [],
        "runs_dry_at": _runs_dry_at(last) if state == "running" else None,
    }


def receipt_view(
    board: LeaseBoard, job_id: str, settled: dict[str, Any] | None = None, *, gpu: str = ""
) -> ReceiptView:
    """What a lease used and paid: its newest receipt. ``settled`` is the lane's state as read from the chain."""
    state, award = board.state, board.award.record
    newest = board.newest_paid
    report = verify(newest.report, UsageReport) if newest else None
    nothing = money(0)
    return {
        "receipt": receipt_id(report.id, newest.row).hex() if newest and report else "",
        "job": job_id,
        "lease": board.lease_id.hex(),
        "provider": board.provider.hex(),
        "payer": "0x" + award.payer.hex(),
        "machine": award.machine,
        "gpu": gpu,
        "price": price_view(state.price),
        "gpu_ms": state.gpu_ms,
        "amount": money(state.paid),
        "deposited": settled["deposited"] if settled else money(state.cap),
        "paid": settled["paid"] if settled else money(state.paid),
        "refunded": settled["refunded"] if settled else nothing,
        "reclaimed": bool(settled and settled["reclaimed"]),
        "exit_reason": str(state.exit_reason or ""),
        "exit_code": state.exit_code,
        "settled": settled is not None and state.stage in OVER,
        "settled_at": rfc3339(state.since) if state.stage in OVER else None,
        "transactions": settled["transactions"] if settled else [],
        "evidence": {
            "lease": board.lease.raw.hex(),
            "report": newest.report.hex() if newest else "",
            "voucher": newest.row.hex() if newest else "",
        },
    }


def lane_view(lane: LaneSummary) -> LaneView:
    """One payment account of the wallet."""
    return {
        "payer": "0x" + lane.lane.payer.hex(),
        "payee": "0x" + lane.lane.payee.hex(),
        "signer": "0x" + lane.lane.signer.hex(),
        "balance": money(lane.balance),
        "claimed": money(lane.claimed),
        "signed": money(lane.signed),
        "available": money(max(0, lane.free)),
        "held": money(lane.held),
        "reserved": money(lane.reserved),
        "leases": lane.open_leases,
        "exit_at": rfc3339(lane.exit_at * 1000) if lane.exit_at else None,
    }


def chain_way(health: ChainHealth | None) -> dict[str, Any]:
    """How the way to the chain does: its endpoints, and what is being sent."""
    endpoints = health.endpoints if health else ()
    return {
        "endpoints": [
            {"name": one.name, "state": one.state.value, "head": one.head, "note": one.note} for one in endpoints
        ],
        "disputes": health.disputes if health else 0,
        "dispute": health.last_dispute if health else "",
        "unmined": health.sending.unmined if health else 0,
        "waiting": health.sending.waiting if health else "",
    }


def lease_line(board: LeaseBoard) -> dict[str, Any]:
    """One lease in ``cfab provider status``."""
    state: LeaseState = board.state
    return {
        "lease": board.lease_id.hex(),
        "requester": board.requester.hex(),
        "stage": str(state.stage),
        "image": board.spec.image,
        "slots": list(board.lease.record.slots),
        "cap": money(state.cap),
        "at_risk": money(at_risk(state)),
        "paid": money(state.paid),
        "price": price_view(state.price),
    }


def _runs_dry_at(last: dict[str, dict[str, Any]]) -> str | None:
    """Until when the job's money lasts, once its owner was warned and as long as no more came."""
    dry, more = last.get("running_dry"), last.get("topped_up")
    return None if dry is None or (more is not None and more["seq"] > dry["seq"]) else str(dry["until"])


def _exit_code(exited: dict[str, Any] | None, board: LeaseBoard | None) -> int | None:
    code = board.state.exit_code if board is not None else exited["exit_code"] if exited else -1
    return code if code >= 0 else None


def _error(failed: dict[str, Any] | None) -> Any:
    if failed is None:
        return None
    return {key: failed[key] for key in ("code", "message", "fix", "retryable")}


def _cap(query: dict[str, Any]) -> int:
    text = query.get("max_price")
    return amounts.parse_hourly_price(str(text)) if text else amounts.MAX_PRICE
