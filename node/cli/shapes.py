"""What each command prints with ``--json``: shapes for the reference in docs/json.md. Nothing runs through here."""

from __future__ import annotations

from typing import Any, TypedDict

from node.control_shapes import (
    Check,
    JobView,
    OfferView,
    PriceView,
    ProviderView,
    ReceiptView,
    StatusView,
    WalletView,
)
from node.market_shapes import BidView, DepthView, HistoryBar, PeerReport
from node.plan_shapes import ExplainView, PlanView
from node.receipt_shapes import (
    EquivocationProof,
    ReceiptFile,
    ShownReceipt,
    VerifiedReceipts,
    WrittenProof,
    WrittenReceipts,
)
from node.wallet_shapes import (
    DepositDone,
    DepositPlan,
    EarningsView,
    PayoutsView,
    StakeChange,
    StakeView,
    WalletAddress,
    WalletLine,
    Withdrawal,
)
from node.what_if_shapes import WhatIfView


class ErrorView(TypedDict, total=False):
    """What any command prints instead, with the exit code that belongs to ``code``. ``problems`` is there for job files
    only: one entry for each mistake, with ``code``, ``path``, ``message``, ``fix``, and ``line``, ``column`` and
    ``length``, or ``flag``; ``also`` holds the other place of a contradiction."""

    code: str
    message: str
    fix: str
    where: str
    retryable: bool
    problems: list[Any]


class ErrorAnswer(TypedDict):
    """The document that holds an error."""

    error: ErrorView


class Stopped(TypedDict):
    """The node's process has ended."""

    stopping: bool
    stopped: bool


class SubmittedJob(TypedDict, total=False):
    """With ``--detach``. ``jobs`` is there for a job on several machines only: its members by rank, ``job`` first."""

    job: str
    jobs: list[str]


class LogLine(TypedDict):
    """A piece of the job's output: byte position in the whole log, and the bytes as base64. ``type`` is ``log``."""

    type: str
    offset: int
    data: str


class DemoLine(TypedDict, total=False):
    """One step or check of the demo, or event of its job. The last has the type ``verdict``: ``ok`` is the result."""

    type: str
    ok: bool
    text: str
    seconds: float


class WrittenFile(TypedDict):
    """The job file that was written."""

    file: str


class Validated(TypedDict):
    """A job file without mistakes. ``request`` is what the node would be sent, ``weights`` what its offers are ranked
    by, ``meaning`` that in words; ``notes`` are no mistakes."""

    file: str
    valid: bool
    request: dict[str, Any]
    weights: dict[str, int]
    meaning: str
    notes: list[str]


class NewWallet(TypedDict):
    """A wallet that was made or brought."""

    account: str
    file: str


class Setting(TypedDict):
    """A value in use; ``source`` is ``file``, a variable's name or ``default``."""

    key: str
    value: Any
    source: str


class ConfigAnswer(TypedDict):
    """The configuration."""

    home: str
    settings: list[Setting]


class VersionAnswer(TypedDict):
    """The program and its interpreter."""

    version: str
    python: str


class EscrowAddress(TypedDict):
    """Where the escrow of this release lies. ``window_s`` is how long a payer waits that chose nothing else;
    ``runtime_sha256`` is of its code with everything that deployment fills in set to zero. ``configured``: whether it
    is the one under ``[chain]``; null when nothing is there, or it is of another token."""

    escrow: str
    token: str
    window_s: int
    step_s: int
    factory: str
    runtime_sha256: str
    configured: bool | None


class VerifiedAward(TypedDict, total=False):
    """What an award was found to be; only ``code`` and ``message`` beside ``valid`` when it is not. ``place`` counts
    from 1; ``refused`` better offers were refused with a signature, ``by_word`` by the requester's word alone."""

    valid: bool
    code: str
    message: str
    provider: str
    machine: str
    price_nano_per_gpu_second: int
    expected_cost_units: int
    offers: int
    fitting: int
    rivals: int
    complete: bool
    place: int
    refused: int
    by_word: int


class MarketQuartiles(TypedDict):
    """What other providers ask for this model, each counted once with its cheapest."""

    low: PriceView
    median: PriceView
    high: PriceView


class PriceAdvice(TypedDict):
    """What a machine costs and what its like is sold for. ``providers`` is how many others sell it, ``cheaper`` how
    many of them ask less than ``price``, the node's own. What is not known is null."""

    gpu: str
    machine: str | None
    floor: PriceView | None
    market: MarketQuartiles | None
    providers: int
    price: PriceView | None
    cheaper: int | None
    suggested: PriceView | None


class SimulatedRun(TypedDict):
    """One run of a simulated market. ``rivals`` is the share of rivals' bids heard of, null for bids decided alone.

    ``could`` of the ``bids`` fitted a free machine as their epoch began; of these ``served`` is the share that got one
    and ``missed`` the share that got none although one was left. ``first_try`` and ``tries`` are of the served.
    ``welfare`` is cap less price in nanotokens per second, ``in_turn`` the same had they come one after the other,
    ``of_in_turn`` the one by the other, and ``of_best`` at least its share of the best possible. ``premium`` is price
    above that of the machine each would have taken alone. ``earnings``, ``work`` and ``sizes`` are Jain's index of
    income and use per slot by provider, and of ``served_by_size``.
    """

    rivals: float | None
    bids: int
    could: int
    served: float
    first_try: float
    tries: float
    missed: float
    served_by_size: dict[str, float]
    welfare: int
    in_turn: int
    of_in_turn: float
    of_best: float
    premium: float
    earnings: float
    work: float
    sizes: float


class SimulatedMarket(TypedDict):
    """What was simulated, and each run of it."""

    seed: int
    nodes: int
    bids: int
    per_epoch: int
    requesters: int
    load: float
    strategy: str
    runs: list[SimulatedRun]


class Lines(TypedDict):
    """A stand-in: events of a job, one object per line (see *Events*), with :class:`LogLine` between them."""


class LightAnswer(TypedDict, total=False):
    """With ``--light``: what the command prints otherwise, under the command's name (``offers`` with ``--depth``:
    ``depth``), and what each peer that was asked did."""

    offers: list[OfferView]
    depth: list[DepthView]
    whatif: WhatIfView
    history: list[HistoryBar]
    bids: list[BidView]
    peers: list[PeerReport]


PRINTED: dict[str, tuple[object, str]] = {
    "up": (None, "nothing on stdout; the node's log goes to stderr"),
    "down": (Stopped, ""),
    "status": (StatusView, ""),
    "demo": (DemoLine, "one object per line"),
    "doctor": (list[Check], ""),
    "run": (Lines, "with `--detach`: `SubmittedJob`"),
    "submit": (Lines, "with `--detach`: `SubmittedJob`"),
    "plan": (PlanView, "exit code 5 when nothing fits, 6 when the wallet holds too little"),
    "explain": (ExplainView, ""),
    "ps": (list[JobView], "newest first"),
    "show": (JobView, ""),
    "logs": (LogLine, "one object per line"),
    "cancel": (list[JobView], ""),
    "job init": (WrittenFile, ""),
    "job validate": (Validated, ""),
    "offers": (list[OfferView], "cheapest first"),
    "depth": (list[DepthView], "the model with most free slots first"),
    "whatif": (WhatIfView, "exit code 5 when nothing fits"),
    "history": (list[HistoryBar], "newest first"),
    "bids": (list[BidView], "newest first"),
    "verify-award": (VerifiedAward, ""),
    "simulate": (SimulatedMarket, ""),
    "provider pause": (ProviderView, ""),
    "provider resume": (ProviderView, ""),
    "provider status": (ProviderView, ""),
    "provider earnings": (EarningsView, ""),
    "provider price": (list[PriceAdvice], "one for each machine this node sells, or for `--gpu`"),
    "provider set-price": (ProviderView, ""),
    "wallet create": (NewWallet, ""),
    "wallet import": (NewWallet, ""),
    "wallet show": (WalletView, "without a running node: `account` only; so does `wallet` alone"),
    "wallet balance": (WalletView, ""),
    "wallet export-address": (WalletAddress, "without a running node, too"),
    "wallet deposit": (DepositDone, "with `--print`: `DepositPlan`"),
    "wallet withdraw": (Withdrawal, ""),
    "wallet exit": (Withdrawal, "another word for `wallet withdraw`"),
    "wallet history": (list[WalletLine], "newest first"),
    "wallet payouts": (PayoutsView, ""),
    "stake show": (StakeView, ""),
    "stake add": (StakeChange, ""),
    "stake leave": (StakeChange, ""),
    "stake take": (StakeChange, ""),
    "stake slash": (StakeChange, ""),
    "chain address": (EscrowAddress, ""),
    "receipts list": (list[ReceiptView], "so does `receipts` alone"),
    "receipts show": (ShownReceipt, ""),
    "receipts verify": (VerifiedReceipts, "exit code 1 when anything does not hold"),
    "receipts export": (ReceiptFile, "`--format cloudevents`: a JSON batch; with `--output`: `WrittenReceipts`"),
    "receipts prove": (EquivocationProof, "with `--output`: `WrittenProof`"),
    "config": (ConfigAnswer, ""),
    "version": (VersionAnswer, ""),
}
"""Command → what it prints, and a remark."""
EXTRA = (SubmittedJob, LogLine, ErrorAnswer, LightAnswer, DepositPlan, WrittenReceipts, WrittenProof)
"""Shapes that no command's own entry names."""
