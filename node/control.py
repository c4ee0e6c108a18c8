"""What the outside may ask of a running node: the one port that the API serves and the service implements.

Everything that crosses it is plain data that JSON can hold. Money is :func:`money` (decimal text and whole units),
ids are full hex, times are RFC 3339 UTC text, absent values are None; :mod:`node.control_shapes` has all shapes.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

from market.money import format_hourly, format_tokens
from node.control_shapes import Check, JobView, LogPiece, Money, OfferView, PriceView, ReceiptView, WalletView

if TYPE_CHECKING:
    from node.market_shapes import BidView, DepthView, HistoryBar
    from node.plan_shapes import ExplainView, PlanView
    from node.wallet_control import WalletControl

JOB_STATES = (
    "queued",
    "matching",
    "funding",
    "preparing",
    "running",
    "ending",
    "settling",
    "succeeded",
    "failed",
    "cancelled",
)
TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled"})
JOB_EVENTS = (
    "queued",
    "matching",
    "quoted",
    "refused",
    "waiting_for_offers",
    "leased",
    "funded",
    "preparing",
    "waiting",
    "running",
    "paid",
    "topped_up",
    "running_dry",
    "deadline_passed",
    "exited",
    "outputs",
    "settled",
    "succeeded",
    "failed",
    "cancelled",
)
TERMINAL_EVENTS = TERMINAL_STATES

Json = dict[str, Any]


class NodeControl(Protocol):
    """Verbs on a running node. Each may raise the errors of :mod:`market.errors`; ``InvalidRequest`` with code
    ``not_found`` is raised for an id nobody knows. Every verb may be repeated. The two streams are generators because
    whoever leaves one early must close it in its own task."""

    @property
    def wallet_desk(self) -> WalletControl:
        """What may be asked of the node's money.

        Raises:
            InvalidRequest: ``no_chain``.
        """
        ...

    async def status(self) -> Json:
        """A :class:`StatusView`."""
        ...

    async def offers(self, query: Json) -> list[OfferView]:
        """Live offers, cheapest first. ``query`` may hold ``where`` and ``order`` (:mod:`node.offer_query`), ``gpu``,
        ``region``, ``max_price`` (``"0.40/h"``), ``min_vram_mib``, ``free`` (only with free slots), ``simulated``
        (False hides them) and ``limit``.

        Raises:
            InvalidRequest: ``bad_query``, with the column.
        """
        ...

    async def bids(self) -> list[BidView]:
        """Live bids, newest first."""
        ...

    async def depth(self, query: Json) -> list[DepthView]:
        """What is free at which price, by GPU model. ``query`` may hold what :meth:`offers` takes; ``gpu`` is exact."""
        ...

    async def history(self, query: Json) -> list[HistoryBar]:
        """Bars of prices, newest first. ``query`` may hold ``gpu``, ``over_ms`` (how far back) and ``step_ms`` (at most
        one bar of a model per such interval)."""
        ...

    async def submit(self, request: Json) -> Json:
        """Queue a job durably; returns ``{"job": id}``, and for a job on several machines ``"jobs"`` too: the ids of
        all members, by rank.

        Args:
            request: the JSON form of :class:`node.job_file.JobRequest`, with absolute local paths.

        Raises:
            InvalidRequest: the request is malformed, or an input cannot be read.
        """
        ...

    async def plan(self, request: Json) -> PlanView:
        """What would happen to a job now. Nothing is bought, and nobody is asked.

        Args:
            request: as for :meth:`submit`.

        Raises:
            InvalidRequest: the request is malformed, or an input is not there.
        """
        ...

    async def award_file(self, job: str) -> Json:
        """What proves how a job's provider was chosen: ``{"job", "file"}``, the file as base64 for
        ``cfab verify-award``."""
        ...

    async def explain(self, job: str) -> ExplainView:
        """Why a job went to its provider, or to nobody; and what was expected of it beside what came of it."""
        ...

    async def jobs(self) -> list[JobView]:
        """All jobs this node submitted, newest first."""
        ...

    async def job(self, job: str) -> JobView: ...
    def job_events(self, job: str, *, after: int = 0) -> AsyncIterator[Json]:
        """Events ``{seq, time, type, ...}`` of :mod:`node.job_events` with ``seq > after``, old ones first, then live
        ones. Ends after a terminal event. ``seq`` is dense from 1 for each job and survives a restart."""
        ...

    def logs(self, job: str, *, offset: int = 0, follow: bool = False) -> AsyncIterator[LogPiece]:
        """The job's output from byte ``offset``; with ``follow`` it ends when the job's output does."""
        ...

    async def cancel(self, job: str) -> JobView:
        """Stop a job. With a member of a gang that has no leases yet all members are stopped, later it alone."""
        ...

    async def receipts(self, job: str | None = None) -> list[ReceiptView]: ...
    def receipt_evidence(self, job: str | None = None) -> AsyncIterator[Json]:
        """The signed originals of a job's or lease's receipts, or of all, in :mod:`node.receipt_archive`'s pieces."""
        ...

    async def receipts_on_chain(self, lane: Json) -> Json:
        """What the chain says of ``{"payer", "payee", "signer", "transactions"}``."""
        ...

    async def wallet(self) -> WalletView: ...
    async def exit_lane(self, payee: str) -> Json:
        """Start (or, once its delay is over, finish) taking unspent money out of a lane; returns a
        :class:`LaneExit`."""
        ...

    async def doctor(self) -> list[Check]: ...
    async def provider_pause(self) -> Json:
        """Stop offering; running jobs go on. Returns the ``provider`` part of :meth:`status`."""
        ...

    async def provider_resume(self) -> Json: ...
    async def provider_price(self, price: str, machine: str = "") -> Json:
        """Ask ``price`` (``"0.32/h"``) until the next start, for one machine or all. Leases keep theirs."""
        ...

    async def shutdown(self) -> None:
        """Ask the node to stop. Containers go on running and are adopted at the next start."""
        ...


def money(units: int) -> Money:
    """Units as the JSON form of an amount."""
    return {"amount": format_tokens(units), "units": units}


def price_view(nano_per_gpu_second: int) -> PriceView:
    """A price as its JSON form."""
    return {"hourly": format_hourly(nano_per_gpu_second), "nano_per_gpu_second": nano_per_gpu_second}


def rfc3339(ms: int) -> str:
    """UTC milliseconds as RFC 3339 text with milliseconds, ``2026-11-22T10:00:00.123Z``."""
    moment = datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


__all__ = [
    "JOB_EVENTS",
    "JOB_STATES",
    "TERMINAL_EVENTS",
    "TERMINAL_STATES",
    "Check",
    "JobView",
    "Json",
    "LogPiece",
    "Money",
    "NodeControl",
    "OfferView",
    "PriceView",
    "ReceiptView",
    "WalletView",
    "money",
    "price_view",
    "rfc3339",
]
