"""The signed records of the market, and nothing about how they travel.

All are immutable. Times are UTC milliseconds since the epoch; prices are nanotokens per GPU-second; amounts are
token units (see ``money``). Unknown fields of a newer peer are ignored on reading, but its bytes are kept
verbatim, so its signature still verifies. Bounds on every field are enforced while decoding: a record that
exists is in range.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""An Ed25519 public key: the name of a node."""
Id = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""A random identifier chosen by its author."""
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Address = Annotated[bytes, Meta(min_length=20, max_length=20)]
"""An account on the settlement chain."""
Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
"""Until the end of the year 9999: a later time cannot be written as a date, and a peer must not make us try."""
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Price = Annotated[int, Meta(ge=0, le=10**15)]
Units = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]
"""A compact signature of an account on the settlement chain."""
Word = Annotated[str, Meta(max_length=64)]
Line = Annotated[str, Meta(max_length=512)]


class Settlement(Struct, frozen=True, kw_only=True):
    """Where a provider wants to be paid. A requester trades only with offers that name its own escrow."""

    chain_id: Annotated[int, Meta(ge=1, le=2**53)]
    escrow: Address
    payee: Address


class PaymentTerms(Struct, frozen=True, kw_only=True):
    """The rhythm of payment. Exposure of either side is at most the price of ``tick_ms + grace_ms``."""

    tick_ms: Annotated[int, Meta(ge=200, le=3_600_000)] = 10_000
    grace_ms: Annotated[int, Meta(ge=200, le=3_600_000)] = 15_000
    fund_within_ms: Annotated[int, Meta(ge=500, le=3_600_000)] = 60_000
    start_within_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] = 900_000
    final_within_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] = 300_000


class Offer(Struct, frozen=True, kw_only=True):
    """A provider's posted ask: one machine class, its free slots and its price.

    A *slot* is what is sold: one GPU with its fixed share of CPU, memory and disk, or, where ``gpu`` is ``"none"``,
    such a share without a GPU. ``version`` grows with every change; the newest version replaces the older ones.

    ``jurisdiction`` is the country whose law the machine is under (ISO 3166 alpha-2, lower case). ``interruptible``:
    the owner may take the machine back during a job, ``notice_ms`` after saying so. ``speed`` is measured by the owner
    (1000 is one A100; 0: not measured) and ``net_mbps`` its line; both are claims that receipts correct.
    ``withdrawn`` marks a tombstone: the machine is not for sale, and no older version may come back. ``granted`` are
    the first bytes of the ids of bids that were granted moments ago: who replays rivals must not count them again.
    """

    provider: Key
    machine: Word
    version: Annotated[int, Meta(ge=1, le=2**53)]
    issued_at: Millis
    expires_at: Millis
    gpu: Word
    simulated: bool = False
    free_slots: Annotated[int, Meta(ge=0, le=4096)]
    total_slots: Annotated[int, Meta(ge=1, le=4096)]
    vram_mib: Count = 0
    cpu_milli: Count
    memory_mib: Annotated[int, Meta(ge=0, le=2**31)]
    disk_mib: Annotated[int, Meta(ge=0, le=2**31)]
    price: Price
    region: Word = ""
    runtimes: Annotated[tuple[Word, ...], Meta(max_length=8)] = ("runc",)
    isolation: Word = "container"
    jurisdiction: Word = ""
    interruptible: bool = False
    notice_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 0
    speed: Count = 0
    net_mbps: Count = 0
    driver: Word = ""
    cuda_milli: Count = 0
    withdrawn: bool = False
    granted: Annotated[tuple[Annotated[bytes, Meta(min_length=8, max_length=8)], ...], Meta(max_length=64)] = ()
    images: Annotated[tuple[Annotated[str, Meta(max_length=80)], ...], Meta(max_length=16)] = ()
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=8)] = ()
    settlement: Settlement
    terms: PaymentTerms = PaymentTerms()


class Requirements(Struct, frozen=True, kw_only=True):
    """What a job needs from an offer. Empty sets and zeros mean "any". Amounts are per slot.

    ``driver`` is the oldest driver that will do. ``interruptible`` accepts machines that the owner may take back, with
    at least ``min_notice_ms`` of warning; without it only those that are sold to the end of the lease fit.
    """

    gpus: Annotated[tuple[Word, ...], Meta(max_length=32)] = ()
    slots: Annotated[int, Meta(ge=1, le=4096)] = 1
    vram_mib: Count = 0
    vram_max_mib: Count = 0
    cpu_milli: Count = 0
    memory_mib: Annotated[int, Meta(ge=0, le=2**31)] = 0
    disk_mib: Annotated[int, Meta(ge=0, le=2**31)] = 0
    regions: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()
    jurisdictions: Annotated[tuple[Word, ...], Meta(max_length=64)] = ()
    runtime: Word = ""
    cuda_milli: Count = 0
    driver: Word = ""
    interruptible: bool = False
    min_notice_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 0
    min_reputation: Annotated[int, Meta(ge=0, le=1000)] = 0
    allow_simulated: bool = False


class InputFile(Struct, frozen=True, kw_only=True):
    """One tar stream the requester sends: unpacked under ``target``, checked against size and hash first."""

    target: Line
    size: Annotated[int, Meta(ge=0, le=2**40)]
    sha256: Digest


class JobSpec(Struct, frozen=True, kw_only=True):
    """What shall run. Travels only to the provider that won; everyone else sees its hash.

    ``fund_ahead_ms`` is the stretch whose cost is set aside at a time (``market.cover``); 0 for all of it at once.
    """

    image: Line
    command: Annotated[tuple[Annotated[str, Meta(max_length=131_072)], ...], Meta(max_length=1024)]
    env: Annotated[dict[str, Annotated[str, Meta(max_length=32_768)]], Meta(max_length=256)] = {}
    requirements: Requirements = Requirements()
    network: Word = "none"
    inputs: Annotated[tuple[InputFile, ...], Meta(max_length=256)] = ()
    outputs: Annotated[tuple[Line, ...], Meta(max_length=64)] = ()
    shm_mib: Count = 64
    max_duration_ms: Annotated[int, Meta(ge=1_000, le=31 * 86_400_000)]
    fund_ahead_ms: Annotated[int, Meta(ge=0, le=31 * 86_400_000)] = 0


class Bid(Struct, frozen=True, kw_only=True):
    """A requester's job request, as gossiped. It never carries the maximum price, image, command or secrets.

    ``weights`` (cost, speed, reliability, latency) belong to the strategy ``custom`` and are empty otherwise.
    """

    requester: Key
    bid_id: Id
    requirements: Requirements
    strategy: Word = "lowest_cost"
    weights: Annotated[tuple[Annotated[int, Meta(ge=0, le=1000)], ...], Meta(max_length=4)] = ()
    spec_hash: Digest
    issued_at: Millis
    expires_at: Millis


class Quote(Struct, frozen=True, kw_only=True):
    """A provider's lower price for one bid, told to that requester alone. It holds nothing: the slots may be gone when
    the award comes. ``price`` is at most the tag of the offer it is about."""

    provider: Key
    bid_id: Id
    machine: Word
    offer_id: Digest
    price: Price
    issued_at: Millis
    expires_at: Millis


class Award(Struct, frozen=True, kw_only=True):
    """The requester's choice: "this bid takes that offer at the price on its tag", or at the price of ``quote``, the
    provider's own signed :class:`Quote`.

    ``lane_proof`` is the session key's signature that the named lane may be used for it: lanes are public, and anybody
    could name one.
    """

    requester: Key
    provider: Key
    bid_id: Id
    machine: Word
    offer_id: Digest
    offer_version: Annotated[int, Meta(ge=1, le=2**53)]
    price: Price
    slots: Annotated[int, Meta(ge=1, le=4096)]
    spec_hash: Digest
    max_duration_ms: Annotated[int, Meta(ge=1_000, le=31 * 86_400_000)]
    chain_id: Annotated[int, Meta(ge=1, le=2**53)]
    escrow: Address
    payer: Address
    signer: Address
    payee: Address
    lane_proof: Annotated[bytes, Meta(min_length=64, max_length=64)]
    terms: PaymentTerms
    transcript: Digest
    issued_at: Millis
    expires_at: Millis
    quote: Annotated[bytes, Meta(max_length=1024)] = b""


class Lease(Struct, frozen=True, kw_only=True):
    """The agreement: the provider's signature over the requester's signed award.

    ``fencing`` grows with every lease of a machine: of two leases on one slot the higher number is the later.
    ``grants`` are signatures of the account that is paid, one for each of ``slots`` in their order: whoever signs two
    leases for one slot under one number has proven it against itself (``statements``).
    """

    provider: Key
    lease_id: Id
    award: Annotated[bytes, Meta(max_length=8192)]
    slots: Annotated[tuple[Annotated[int, Meta(ge=0, le=4095)], ...], Meta(min_length=1, max_length=4096)]
    fencing: Annotated[int, Meta(ge=1, le=2**53)]
    granted_at: Millis
    grants: Annotated[tuple[Signature, ...], Meta(max_length=4096)] = ()


class RefusalReason(StrEnum):
    """Why a provider does not honour an award. Each is expected in normal trade."""

    UNKNOWN_OFFER = "unknown_offer"
    STALE_PRICE = "stale_price"
    NO_CAPACITY = "no_capacity"
    EXPIRED = "expired"
    NOT_ADMITTED = "not_admitted"
    BAD_SPEC = "bad_spec"
    DRAINING = "draining"
    WRONG_SETTLEMENT = "wrong_settlement"
    BAD_QUOTE = "bad_quote"


class Refusal(Struct, frozen=True, kw_only=True):
    """A provider's "no", with what is true now so that the requester's book improves by it."""

    provider: Key
    bid_id: Id
    reason: RefusalReason
    detail: Line = ""
    free_slots: Annotated[int, Meta(ge=0, le=4096)] = 0
    version: Annotated[int, Meta(ge=0, le=2**53)] = 0
    price: Price = 0


class ExitReason(StrEnum):
    """Why a job stopped, as shown to its owner. ``OK`` and ``ERROR`` are the program's own doing."""

    OK = "ok"
    ERROR = "error"
    OOM = "oom"
    TIME_LIMIT = "time_limit"
    CANCELLED = "cancelled"
    IMAGE = "image"
    START_FAILED = "start_failed"
    UNPAID = "unpaid"
    UNFUNDED = "unfunded"
    DRAINED = "drained"
    LOST = "lost"


class UsageReport(Struct, frozen=True, kw_only=True):
    """The provider's signed meter reading: cumulative, numbered, chained by hash to the report before it.

    ``amount`` is what this lease owes in all, :func:`market.money.amount_due` of ``gpu_ms`` at the award's price.
    ``previous`` is the digest of the report before, 32 zero bytes for the first. ``detail`` is the provider's own
    sentence about an exit, for people.

    It is the lease's receipt too: ``price`` is the award's, ``lane_before`` what the newest voucher of the lane that
    the provider holds is for, ``lane_after`` what the voucher for this report must be for at least. ``fencing`` is the
    lease's own number: a requester that awards an old bid once more, to a provider whose journal has forgotten it, gets
    a lease of the same id, and receipts under the same numbers, which must not contradict those of before.
    ``account_signature`` is the word of the account that is paid for all of it (``statements``).
    """

    provider: Key
    lease_id: Id
    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    previous: Digest
    measured_at: Millis
    started_at: Millis
    gpu_ms: Annotated[int, Meta(ge=0, le=2**53)]
    cpu_ms: Annotated[int, Meta(ge=0, le=2**53)] = 0
    memory_peak_mib: Annotated[int, Meta(ge=0, le=2**31)] = 0
    amount: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    final: bool = False
    exit_reason: Word = ""
    exit_code: Annotated[int, Meta(ge=-1, le=255)] = -1
    detail: Line = ""
    price: Price = 0
    lane_before: Units = 0
    lane_after: Units = 0
    fencing: Annotated[int, Meta(ge=0, le=2**53)] = 0
    account_signature: Annotated[bytes, Meta(max_length=64)] = b""


class ReceiptRefusal(Struct, frozen=True, kw_only=True):
    """A requester's "no" to a usage report: why (a :class:`market.usage.ReportRefusal`), what it expected and what it
    found. ``report`` is the id of the very report that was refused."""

    requester: Key
    lease_id: Id
    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    report: Digest
    reason: Word
    expected: Line = ""
    found: Line = ""
    refused_at: Millis
