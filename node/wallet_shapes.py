"""The plain data of the wallet, its earnings and its stake that crosses the local API."""

from __future__ import annotations

from typing import TypedDict

from node.control_shapes import DrawnView, LaneView, Money


class ReadyCall(TypedDict):
    """A transaction for another wallet to sign, such as a hardware wallet. ``data`` is hex, ``value`` wei as decimal
    text, ``gas`` the most it may use."""

    what: str
    to: str
    data: str
    value: str
    chain_id: int
    gas: int


class DepositPlan(TypedDict):
    """What a deposit would do and cost; nothing was sent. ``way`` is ``allowance``, ``permit``, or ``approval`` (two
    transactions). ``gas_cost`` is at most, in the smallest part of the chain's own coin, as decimal text; ``gas`` what
    the wallet has of it. ``lane_after`` is what the lane will hold for nobody yet. ``exit_delay_s`` is how long taking
    it back takes when the provider does not answer. ``transactions`` do the same from any other account."""

    provider: str | None
    payee: str
    payer: str
    signer: str
    amount: Money
    tokens: Money
    tokens_after: Money
    lane_before: Money
    lane_after: Money
    way: str
    gas_cost: str
    gas: str
    exit_delay_s: int
    transactions: list[ReadyCall]


class DepositDone(TypedDict):
    """A deposit that is in its lane, as deep as the node waits for. The node leaves it there until ``wallet
    withdraw``."""

    transaction: str
    block: int
    amount: Money
    lane: LaneView


class Withdrawal(TypedDict):
    """Taking unspent money out of a lane: ``together`` with the provider's consent, or by our exit, which can be
    finished from ``exit_at`` on. ``returned`` is what came back, null while nothing did."""

    payee: str
    transaction: str | None
    exit_at: str | None
    finished: bool
    together: bool
    returned: Money | None


class WalletLine(TypedDict):
    """One line of the wallet's history, from the node's own journal.

    ``kind`` is ``deposit``, ``vouchers`` (the sum signed for one lease), ``redeem``, ``close``, ``release``,
    ``exit_started``, ``exit_cancelled``, ``exit`` (finished), ``payout`` or ``stake``. ``side`` is ``paying``, ``paid``
    or ``own``; ``account`` the other party. ``amount`` went into the lane or to the provider, ``returned`` back to the
    payer. ``ok`` is false for what was refused by the chain or never sent, null while that is not known. Without
    ``transaction`` it was somebody else's, and which one is not known: the node saw only what it changed.
    """

    time: str
    kind: str
    side: str
    account: str
    lease: str | None
    amount: Money | None
    returned: Money | None
    transaction: str | None
    block: int | None
    ok: bool | None


class PayoutLine(TypedDict):
    """One payout. ``ok`` is null while it is not known whether it was sent."""

    number: int
    time: str
    to: str
    amount: Money
    transaction: str | None
    block: int | None
    ok: bool | None


class PayoutsView(TypedDict):
    """Where earnings go, how much of them waits, and what was sent, newest first. ``to`` is null without a ``[payout]``
    section; ``waiting`` and ``next_at`` then, too, or while the chain does not answer."""

    to: str | None
    threshold: Money | None
    every: str | None
    paid_out: Money
    waiting: Money | None
    next_at: str | None
    payouts: list[PayoutLine]


class EarningsLine(TypedDict):
    """What came in for one day (UTC), GPU model or job. A provider knows a job by its lease. ``leases`` is how many
    leases paid."""

    key: str
    amount: Money
    gpu_ms: int
    leases: int


class EarningsView(TypedDict):
    """Vouched earnings, grouped. ``total`` is the sum of the lines and of this node's receipts as a provider;
    ``settled`` says what of it the chain has paid. (Books that were restored from an old copy know only of sums what
    they have lost: then ``settled`` counts more than ``total``.)"""

    by: str
    total: Money
    settled: DrawnView
    gpu_ms: int
    lines: list[EarningsLine]


class StakeView(TypedDict):
    """What a provider has staked. ``unlock_at`` is set once it leaves, and from then on it can be taken."""

    provider: str
    amount: Money
    unlock_at: str | None
    can_take: bool


class StakeChange(TypedDict):
    """A transaction about stake, and the stake after it."""

    transaction: str
    stake: StakeView


class WalletAddress(TypedDict):
    """Where tokens and gas are sent to, with the checksum that wallets check; ``signer`` is the session key's account,
    null while there is none."""

    account: str
    signer: str | None
