"""The plain data that crosses the local API: shapes that the type checker reads, and the reference is written from.

Money is :func:`node.control.money`, ids are full hex, times RFC 3339 UTC text, absent values None. Fields are only ever
added; a reader must tolerate fields it does not know.
"""

from __future__ import annotations

from typing import TypedDict


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


class EndpointLine(TypedDict):
    """One endpoint of the chain, without the keys in its address. ``state`` is ``well``, ``behind`` the others,
    ``resting`` after faults, or ``refused`` as it is on another chain; ``head`` is 0 when it was never heard."""

    name: str
    state: str
    head: int
    note: str


class ChainView(TypedDict):
    """The chain the node settles on; ``head`` is the newest block's number, null while it does not answer.

    ``disputes`` counts readings in which endpoints contradicted each other, ``dispute`` is the last one. ``unmined``
    are transactions on their way; ``waiting`` says what they wait for, such as cheaper gas, empty when for nothing.
    """

    chain_id: int
    escrow: str
    token: str
    account: str
    head: int | None
    reachable: bool
    endpoints: list[EndpointLine]
    disputes: int
    dispute: str
    unmined: int
    waiting: str


class LeaseLine(TypedDict):
    """A lease this node works for. ``slots`` are the numbers of the slots it has; ``cap`` is what it can earn at most,
    and ``at_risk`` the most that the requester can leave unpaid."""

    lease: str
    requester: str
    stage: str
    image: str
    slots: list[int]
    cap: Money
    at_risk: Money
    paid: Money
    price: PriceView


class TowerView(TypedDict):
    """A watchtower that holds our newest vouchers of ``lanes``. ``behind`` is what it does not hold yet; ``trouble``
    says why not, or is empty."""

    peer_id: str
    lanes: int
    behind: Money
    trouble: str


class WatchView(TypedDict):
    """What the node watches as a watchtower: lanes of other providers, and how many of their payers are leaving.
    ``saved`` is what it has redeemed for them since its start; ``trouble`` is empty, or says what is in the way."""

    providers: int
    lanes: int
    leaving: int
    saved: Money
    trouble: str


class DrawnView(TypedDict):
    """What became of the vouchers that a provider was given, over all lanes and their whole life. ``vouched`` is the
    sum of the other three: ``drawn`` from the escrow; ``outstanding``, which the lanes still hold; and ``lost``, which
    they hold no more, as when the payer left and nobody redeemed in time."""

    vouched: Money
    drawn: Money
    outstanding: Money
    lost: Money


class ProviderView(TypedDict):
    """What the node sells. ``earned`` is what vouchers promise it, over all lanes and their whole life; ``settled``
    says what of it the chain has paid, and ``unredeemed`` what it still holds in signatures only. ``trouble`` says why
    lanes cannot be looked after, or is empty. ``towers`` are the watchtowers that hold its vouchers."""

    paused: bool
    machine: str
    gpu: str
    price: PriceView
    total_slots: int
    free_slots: int
    earned: Money
    settled: DrawnView
    unredeemed: Money
    trouble: str
    towers: list[TowerView]
    leases: list[LeaseLine]


class StatusView(TypedDict):
    """The node at a glance. ``dropped`` counts gossip that was not believed, by reason; ``chain``, ``provider``
    and ``watch`` are null for a node without one."""

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
    watch: WatchView | None


class OfferView(TypedDict, total=False):
    """One live offer. ``offer`` is the id of this version of it; ``mine`` marks the node's own.

    ``speed`` (1000 is one A100) and ``net_mbps`` are the owner's word, 0 when it gives none. ``reputation`` (permille)
    and ``rtt_ms`` (null when not measured) are what this node itself knows of the provider. ``seen_by`` is there with
    ``--light`` only: how many of the peers asked show this machine.
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
    seen_by: int
    expires_at: str


class JobError(TypedDict):
    """Why a job failed. ``code`` ``"exit"`` means the program itself ended with a non-zero code."""

    code: str
    message: str
    fix: str
    retryable: bool


class GangView(TypedDict):
    """A job's place among those that began together on several machines: ``rank`` is 0 … ``size`` - 1."""

    gang: str
    rank: int
    size: int


class JobView(TypedDict, total=False):
    """One job. ``spent`` is what vouchers have paid so far, ``cap`` what it can cost at most; ``gang`` is null for a
    job on one machine. ``runs_dry_at`` is when a running job has to stop because no more could be set aside for it."""

    job: str
    name: str
    gang: GangView | None
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
    runs_dry_at: str | None


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
    """One payment account. ``balance`` is all that was ever put in and not taken back, ``held`` what of it is still
    there, ``reserved`` what open leases may still draw, ``available`` what nobody was promised. ``exit_at`` is set
    while an exit runs: when it is due."""

    payer: str
    payee: str
    signer: str
    balance: Money
    claimed: Money
    signed: Money
    available: Money
    held: Money
    reserved: Money
    leases: int
    exit_at: str | None


class WalletView(TypedDict):
    """The wallet and its lanes. ``gas`` is the chain's own coin in its smallest part, as decimal text. ``lanes`` are
    those we pay from, ``paid_lanes`` those that pay us. ``payout_to`` is the account that gets the earnings, and
    ``left_today`` what the limit per day leaves; null without such settings."""

    account: str
    signer: str
    tokens: Money
    gas: str
    held: Money
    lanes: list[LaneView]
    paid_lanes: list[LaneView]
    payout_to: str | None
    left_today: Money | None


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
