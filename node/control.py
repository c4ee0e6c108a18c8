"""What the outside may ask of a running node: the one port that the API serves and the service implements.

Everything that crosses it is plain data that JSON can hold. Money is :func:`money` (decimal text and whole units),
ids are full hex, times are RFC 3339 UTC text, absent values are None. Fields are only ever added. The shapes below
are documentation that the type checker reads; a reader must tolerate fields it does not know.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from market.money import format_hourly, format_tokens

if TYPE_CHECKING:
    from node.market_shapes import BidView, DepthView, HistoryBar

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
    "refused",
    "waiting_for_offers",
    "leased",
    "funded",
    "preparing",
    "waiting",
    "running",
    "paid",
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


class Money(TypedDict):
    """``amount`` is for people and programs alike (``"1.500000"`` tokens), ``units`` the exact integer behind it."""

    amount: str
    units: int


class PriceView(TypedDict):
    """``hourly`` is for people (``"0.3500/h"``); the exact figure is in nanotokens per GPU-second."""

    hourly: str
    nano_per_gpu_second: int


class PeerView(TypedDict):
    """A connected peer."""

    key: str
    peer_id: str
    addresses: list[str]
    rtt_ms: float


class JobCounts(TypedDict):
    """How many jobs this node bought, and how many of them are not over."""

    active: int
    total: int


class ChainView(TypedDict):
    """The chain the node settles on; ``head`` is the newest block's number, null while it does not answer."""

    chain_id: int
    escrow: str
    token: str
    account: str
    head: int | None
    reachable: bool


class LeaseLine(TypedDict):
    """A lease this node works for. ``slots`` are the numbers of the slots it has."""

    lease: str
    requester: str
    stage: str
    image: str
    slots: list[int]
    paid: Money
    price: PriceView


class ProviderView(TypedDict):
    """What the node sells. ``earned`` is what vouchers promise it, over all lanes and their whole life."""

    paused: bool
    machine: str
    gpu: str
    price: PriceView
    total_slots: int
    free_slots: int
    earned: Money
    leases: list[LeaseLine]


class StatusView(TypedDict):
    """The node at a glance. ``dropped`` counts gossip that was not believed, by reason; ``chain`` and ``provider`` are
    null for a node without one."""

    version: str
    name: str
    key: str
    peer_id: str
    roles: list[str]
    started_at: str
    addresses: list[str]
    peers: list[PeerView]
    offers: int
    dropped: dict[str, int]
    jobs: JobCounts
    chain: ChainView | None
    provider: ProviderView | None


class OfferView(TypedDict, total=False):
    """One live offer. ``offer`` is the id of this version of it; ``mine`` marks the node's own.

    ``speed`` (1000 is one A100) and ``net_mbps`` are the owner's word, 0 when it gives none. ``reputation`` (permille)
    and ``rtt_ms`` (null when not measured) are what this node itself knows of the provider.
    """

    offer: str
    provider: str
    mine: bool
    machine: str
    gpu: str
    simulated: bool
    free_slots: int
    total_slots: int
    vram_mib: int
    cpu_milli: int
    memory_mib: int
    disk_mib: int
    price: PriceView
    region: str
    jurisdiction: str
    isolation: str
    runtimes: list[str]
    driver: str
    cuda_milli: int
    interruptible: bool
    notice_ms: int
    speed: int
    net_mbps: int
    reputation: int
    rtt_ms: float | None
    expires_at: str


class JobError(TypedDict):
    """Why a job failed. ``code`` ``"exit"`` means the program itself ended with a non-zero code."""

    code: str
    message: str
    fix: str
    retryable: bool


class JobView(TypedDict, total=False):
    """One job. ``spent`` is what vouchers have paid so far, ``cap`` what it can cost at most."""

    job: str
    name: str
    state: str
    image: str
    gpu: str
    provider: str | None
    lease: str | None
    price: PriceView | None
    submitted_at: str
    started_at: str | None
    finished_at: str | None
    exit_code: int | None
    exit_reason: str | None
    spent: Money
    cap: Money | None
    error: JobError | None
    receipt: str | None
    outputs: list[str]


class TransactionView(TypedDict):
    """A transaction that belongs to a receipt; ``purpose`` is ``deposit``, ``redeem``, ``close`` or ``exit``."""

    purpose: str
    hash: str
    block: int


class EvidenceView(TypedDict):
    """The signed originals behind a receipt, in hex, so that anyone can check it without trusting this node: the
    lease (which holds the award), the last usage report, and the voucher row that answered it."""

    lease: str
    report: str
    voucher: str


class ReceiptView(TypedDict, total=False):
    """What one job used and paid: ``amount`` is what was vouched for.

    ``deposited``, ``paid`` and ``refunded`` are the job's own share of its lane: ``paid + refunded = deposited`` once
    ``settled``, as confirmed by the chain. ``reclaimed``: the payer's exit took home what had been vouched and was not
    drawn.
    """

    receipt: str
    job: str
    lease: str
    provider: str
    payer: str
    machine: str
    gpu: str
    price: PriceView
    gpu_ms: int
    amount: Money
    deposited: Money
    paid: Money
    refunded: Money
    reclaimed: bool
    exit_reason: str
    exit_code: int
    settled: bool
    settled_at: str | None
    transactions: list[TransactionView]
    evidence: EvidenceView


class LaneView(TypedDict):
    """One payment account. ``available`` is balance less everything signed; ``exit_at`` is set while an exit runs."""

    payee: str
    signer: str
    balance: Money
    claimed: Money
    signed: Money
    available: Money
    exit_at: str | None


class WalletView(TypedDict):
    """The wallet and its lanes. ``gas`` is the chain's own coin in its smallest part, as decimal text."""

    account: str
    signer: str
    tokens: Money
    gas: str
    held: Money
    lanes: list[LaneView]


class LaneExit(TypedDict):
    """Taking unspent money out of a lane: ``exit_at`` is when it can be finished, null once it is ``finished``."""

    transaction: str | None
    exit_at: str | None
    finished: bool


class Check(TypedDict):
    """One line of ``doctor``. ``ok`` is False only when the node cannot do its work; ``warning`` needs a look."""

    name: str
    ok: bool
    warning: bool
    detail: str
    fix: str


class LogPiece(TypedDict):
    """A piece of a job's output and its byte position in the whole log of that job."""

    offset: int
    data: bytes


class NodeControl(Protocol):
    """Verbs on a running node. Each may raise the errors of :mod:`market.errors`; ``InvalidRequest`` with code
    ``not_found`` is raised for an id nobody knows. Every verb may be repeated. The two streams are generators because
    whoever leaves one early must close it in its own task."""

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
        """Queue a job durably; returns ``{"job": id}``.

        Args:
            request: the JSON form of :class:`node.job_file.JobRequest`, with absolute local paths.

        Raises:
            InvalidRequest: the request is malformed, or an input cannot be read.
        """
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

    async def cancel(self, job: str) -> JobView: ...
    async def receipts(self, job: str | None = None) -> list[ReceiptView]: ...
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
