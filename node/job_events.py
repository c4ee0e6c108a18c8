"""What happens to a job, event by event: the shapes of what ``job_events`` yields and ``cfab run --json`` prints.

Every event also has ``seq`` (dense from 1 for each job), ``time`` (RFC 3339, UTC) and ``type``, its name here. Fields
and types of events are only ever added; a reader skips what it does not know.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from node.control_shapes import Money, PriceView, TransactionView


class RejectedRule(TypedDict):
    """How many offers break a rule, and how many break no other."""

    rule: str
    fails: int
    only: int


class ClosestChange(TypedDict):
    """The smallest change of the job by which an offer more would match: ``field`` of its requirements, or
    ``max_price``, ``max_total`` or ``max_rtt_us``. Of a list of words ``value`` is the one that is missing, or an empty
    list: any will do."""

    rule: str
    field: str
    value: Any


class Suggestion(TypedDict):
    """Changes that, made together, let ``matches`` more offers match."""

    matches: int
    changes: list[ClosestChange]


class CostView(TypedDict):
    """The terms of an expected total cost; they add up to it. ``compute``: the tag's price for the expected time.
    ``image`` and ``transfer``: waiting for the image, and for inputs and outputs. ``risk``: what a failure would cost,
    times its probability. ``opening``: the gas that paying this provider costs."""

    compute: Money
    image: Money
    transfer: Money
    risk: Money
    opening: Money


class CandidateView(TypedDict):
    """An offer that fits. ``price`` is its tag, or a quote below it. ``expected_cost`` is what the job is expected to
    cost there, all things counted, in ``expected_ms`` milliseconds of running (where ``needed_ms``, the time to its
    end, is more, it is expected to be cut off), after ``image_ms`` for the image, which is 0 where it already is, and
    with ``transfer_ms`` for inputs and outputs. ``cap`` is what would be set aside, and ``exposure`` bounds what either
    side can lose by the other's fault.

    The smallest ``score`` wins (decimal text: it has up to 127 bits). It is made of the cost and, by the weights, of
    ``performance`` and ``reputation`` (permille) and ``latency_ms``. ``speed`` 1000 is one A100; ``failure_permille``
    is how many leases of 1000 are expected to fail by the provider's fault.
    """

    rank: int
    provider: str
    machine: str
    gpu: str
    simulated: bool
    price: PriceView
    expected_cost: Money
    cost: CostView
    expected_ms: int
    needed_ms: int
    image_ms: int
    transfer_ms: int
    cap: Money
    exposure: Money
    score: str
    speed: int
    performance: int
    reputation: int
    latency_ms: int
    failure_permille: int


class WeightsView(TypedDict):
    """How much each term counts, from 0 to 1000."""

    cost: int
    speed: int
    reliability: int
    latency: int


class Queued(TypedDict):
    """The job is in the journal: it survives a restart from here on."""


class Matching(TypedDict, total=False):
    """The offers were compared with the job. ``going_price`` is the lower median of what free machines of the
    models asked for cost."""

    offers: int
    matches: int
    rejected: list[RejectedRule]
    closest: list[ClosestChange]
    suggestions: list[Suggestion]
    strategy: str
    weights: WeightsView
    going_price: PriceView
    candidates: list[CandidateView]


class Quoted(TypedDict):
    """A provider would take less than its ``tag``, for this job alone. It holds nothing until it is awarded."""

    provider: str
    machine: str
    price: PriceView
    tag: PriceView


class WaitingForOffers(TypedDict):
    """Nobody can take the job now, and it was submitted with a time to wait: it stands in the node's queue ``until``
    then and is tried again when offers come or change. Told once. With ``message`` and
    ``fix`` where what fits cannot be funded."""

    until: str
    offers: int
    matches: int
    rejected: list[RejectedRule]
    closest: list[ClosestChange]
    suggestions: list[Suggestion]
    message: NotRequired[str]
    fix: NotRequired[str]


class Refused(TypedDict):
    """A provider did not grant a lease; the next one is asked."""

    provider: str
    reason: str
    detail: str


class Leased(TypedDict):
    """A provider granted a lease. ``cap`` is the most it can cost; ``exposure`` bounds what either side can lose by the
    other's fault, as does ``cap``."""

    lease: str
    provider: str
    machine: str
    gpu: str
    price: PriceView
    cap: Money
    exposure: Money


class Funded(TypedDict):
    """What the job can cost, or a first stretch of it, is set aside. ``transaction`` is null when the lane still held
    enough."""

    transaction: str | None
    amount: Money


class Preparing(TypedDict):
    """The provider has the inputs."""

    detail: str


class Waiting(TypedDict, total=False):
    """Something is out of reach, such as the chain or the provider; it is tried again."""

    duty: str
    detail: str


class Running(TypedDict):
    """The container is up."""

    started_at: str


class Paid(TypedDict):
    """A usage report was answered with a voucher. ``amount`` and ``gpu_ms`` are cumulative."""

    sequence: int
    gpu_ms: int
    amount: Money
    final: bool


class ToppedUp(TypedDict):
    """More of the cost is set aside: ``covered`` in all. ``transaction`` is null when the lane still held enough."""

    covered: Money
    transaction: str | None


class RunningDry(TypedDict):
    """What is set aside (``covered``) lasts ``until`` then, and no more could be added, for the reason in ``detail``.
    It is tried again; if it stays so, the job is stopped a moment earlier, and its outputs are kept."""

    until: str
    covered: Money
    detail: str
    fix: str


class DeadlinePassed(TypedDict):
    """The lease came to the end of a time it had for something."""


class Exited(TypedDict):
    """The program ended, or was ended. ``exit_code`` is -1 where there is none."""

    reason: str
    exit_code: int


class Outputs(TypedDict):
    """Outputs were fetched. ``files`` names the first of ``count``; ``bytes`` is their content. ``missing`` are paths
    the job did not make; ``problems`` says what could not be written and where the archive is kept instead."""

    files: list[str]
    count: int
    bytes: int
    to: list[str]
    missing: list[str]
    problems: list[str]


class LaneTotalsView(TypedDict):
    """A payment lane over its whole life and all its jobs, as the chain has it."""

    deposited: Money
    paid: Money
    refunded: Money
    held: Money
    adds_up: bool


class Settled(TypedDict, total=False):
    """The chain has this job's money where it belongs: ``deposited = paid + refunded``, the job's own share.

    ``reclaimed``: the payer's exit took home what had been ``vouched`` and was not drawn. ``lane`` is absent when the
    chain's log could not be read.
    """

    transaction: str | None
    deposited: Money
    paid: Money
    refunded: Money
    vouched: Money
    reclaimed: bool
    transactions: list[TransactionView]
    lane: LaneTotalsView


class Succeeded(TypedDict):
    """The program ended with 0. Terminal."""

    exit_code: int


class Failed(TypedDict, total=False):
    """The job failed. ``code`` ``"exit"`` means the program itself did; ``fix`` is what to do. Terminal."""

    code: str
    message: str
    fix: str
    retryable: bool
    exit_code: int


class Cancelled(TypedDict):
    """The job was stopped by its owner. Terminal."""


EVENTS: dict[str, type] = {
    "queued": Queued,
    "matching": Matching,
    "quoted": Quoted,
    "refused": Refused,
    "waiting_for_offers": WaitingForOffers,
    "leased": Leased,
    "funded": Funded,
    "preparing": Preparing,
    "waiting": Waiting,
    "running": Running,
    "paid": Paid,
    "topped_up": ToppedUp,
    "running_dry": RunningDry,
    "deadline_passed": DeadlinePassed,
    "exited": Exited,
    "outputs": Outputs,
    "settled": Settled,
    "succeeded": Succeeded,
    "failed": Failed,
    "cancelled": Cancelled,
}
"""Type → its own fields, in the order in which they usually come."""
