"""Records that are in order, for tests to spoil one field at a time. Nothing here is random or asks a clock."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, lane_proof_digest
from market.ask import Ask, JobFacts
from market.feasibility import Candidate, Limits
from market.records import (
    Award,
    Bid,
    InputFile,
    JobSpec,
    Lease,
    Offer,
    PaymentTerms,
    Quote,
    ReceiptRefusal,
    Refusal,
    RefusalReason,
    Requirements,
    Settlement,
    UsageReport,
)
from market.signing import Signer, Verified, spec_hash
from market.strategies import STRATEGIES
from node.lane_subjects import award_subject, close_subject

NOW = 1_800_000_000_000
CHAIN_ID = 31337
ESCROW = b"e" * 20
PAYEE_KEY = SessionKey(b"p" * 32)
PAYEE = PAYEE_KEY.address
PAYER = b"w" * 20
SESSION_KEY = SessionKey(b"s" * 32)
SESSION = SESSION_KEY.address
SALT = b"t" * 16
TERMS = PaymentTerms(
    tick_ms=5_000, grace_ms=8_000, fund_within_ms=60_000, start_within_ms=120_000, final_within_ms=60_000
)
SETTLEMENT = Settlement(chain_id=CHAIN_ID, escrow=ESCROW, payee=PAYEE)
SPEC = JobSpec(image="cfab-job-base:local", command=("run",), max_duration_ms=600_000)


def a_signer(name: str) -> Signer:
    """The key of a node of that name."""
    return Signer.from_seed(name.encode().ljust(32, b"."))


SELLER = a_signer("seller")
BUYER = a_signer("buyer")


def an_offer(**changes: Any) -> Offer:
    plain = Offer(
        provider=SELLER.key,
        machine="m0",
        version=1,
        issued_at=NOW,
        expires_at=NOW + 60_000,
        gpu="NVIDIA GeForce RTX 4090",
        free_slots=2,
        total_slots=2,
        vram_mib=24_000,
        cpu_milli=4_000,
        memory_mib=16_000,
        disk_mib=50_000,
        price=100_000,
        region="eu-west",
        cuda_milli=12_400,
        settlement=SETTLEMENT,
        terms=TERMS,
    )
    return replace(plain, **changes)


def offered_by(signer: Signer, **changes: Any) -> Verified[Offer]:
    """A signed offer of that node."""
    return signer.sign(an_offer(provider=signer.key, **changes))


def some_limits(**changes: Any) -> Limits:
    return replace(Limits(max_price=200_000, chain_id=CHAIN_ID, escrow=ESCROW), **changes)


def a_candidate(*, free_slots: int | None = None, reputation: int = 1000, rtt_us: int = 0, **changes: Any) -> Candidate:
    offer = an_offer(**changes)
    free = offer.free_slots if free_slots is None else free_slots
    return Candidate(offer=offer, free_slots=free, reputation=reputation, rtt_us=rtt_us)


def a_quote(offer: Verified[Offer] | None = None, **changes: Any) -> Quote:
    """A tenth less than the tag, for the plain bid."""
    offer = offer or SELLER.sign(an_offer())
    plain = Quote(
        provider=offer.record.provider,
        bid_id=b"b" * 16,
        machine=offer.record.machine,
        offer_id=offer.id,
        price=offer.record.price * 9 // 10,
        issued_at=NOW,
        expires_at=NOW + 10_000,
    )
    return replace(plain, **changes)


def an_ask(**changes: Any) -> Ask:
    """The cheapest machine for an hour, whichever it is."""
    plain = Ask(
        bid_id=b"b" * 16,
        requirements=Requirements(),
        weights=STRATEGIES["lowest_cost"],
        limits=some_limits(),
        job=JobFacts(max_ms=3_600_000),
    )
    return replace(plain, **changes)


def a_bid(**changes: Any) -> Bid:
    plain = Bid(
        requester=BUYER.key,
        bid_id=b"b" * 16,
        requirements=Requirements(),
        spec_hash=spec_hash(SPEC, SALT),
        issued_at=NOW,
        expires_at=NOW + 60_000,
    )
    return replace(plain, **changes)


def an_award(offer: Verified[Offer] | None = None, **changes: Any) -> Award:
    """What an honest requester writes when it takes that offer."""
    offer = offer or SELLER.sign(an_offer())
    record = offer.record
    plain = Award(
        requester=BUYER.key,
        provider=record.provider,
        bid_id=b"b" * 16,
        machine=record.machine,
        offer_id=offer.id,
        offer_version=record.version,
        price=record.price,
        slots=1,
        spec_hash=spec_hash(SPEC, SALT),
        max_duration_ms=SPEC.max_duration_ms,
        chain_id=record.settlement.chain_id,
        escrow=record.settlement.escrow,
        payer=PAYER,
        signer=SESSION,
        payee=record.settlement.payee,
        lane_proof=bytes(64),
        terms=record.terms,
        transcript=bytes(32),
        issued_at=NOW,
        expires_at=NOW + 30_000,
    )
    award = replace(plain, **changes)
    return award if "lane_proof" in changes else replace(award, lane_proof=a_lane_proof(award))


def a_lane_proof(award: Award, key: SessionKey = SESSION_KEY) -> bytes:
    """The session key's word that this award may use the lane it names."""
    lane = LaneKey(payer=award.payer, payee=award.payee, signer=award.signer)
    subject = award_subject(award.requester, award.provider, award.bid_id)
    return key.sign(lane_proof_digest(Domain(award.chain_id, award.escrow), lane, subject))


def a_close_request(
    cumulative: int, deadline_s: int, *, epoch: int = 0, requester: bytes | None = None, **changes: Any
) -> dict[str, Any]:
    """What an honest requester sends to have its lane to :data:`PAYEE` closed."""
    lane = LaneKey(payer=PAYER, payee=PAYEE, signer=SESSION)
    subject = close_subject(requester or BUYER.key, epoch, cumulative, deadline_s)
    proof = SESSION_KEY.sign(lane_proof_digest(Domain(CHAIN_ID, ESCROW), lane, subject))
    plain: dict[str, Any] = {
        "payer": PAYER,
        "payee": PAYEE,
        "signer": SESSION,
        "epoch": epoch,
        "cumulative": cumulative.to_bytes(12, "big"),
        "deadline": deadline_s,
        "proof": proof,
    }
    return plain | changes


def a_lease(award: Verified[Award] | None = None, **changes: Any) -> Lease:
    award = award or BUYER.sign(an_award())
    plain = Lease(
        provider=award.record.provider,
        lease_id=b"l" * 16,
        award=award.raw,
        slots=tuple(range(award.record.slots)),
        fencing=1,
        granted_at=NOW,
    )
    return replace(plain, **changes)


def a_refusal(**changes: Any) -> Refusal:
    plain = Refusal(
        provider=SELLER.key, bid_id=b"b" * 16, reason=RefusalReason.NO_CAPACITY, free_slots=0, version=1, price=100_000
    )
    return replace(plain, **changes)


def a_report(**changes: Any) -> UsageReport:
    plain = UsageReport(
        provider=SELLER.key,
        lease_id=b"l" * 16,
        sequence=1,
        previous=bytes(32),
        measured_at=NOW,
        started_at=NOW,
        gpu_ms=0,
        amount=0,
    )
    return replace(plain, **changes)


def a_receipt_refusal(**changes: Any) -> ReceiptRefusal:
    plain = ReceiptRefusal(
        requester=BUYER.key,
        lease_id=b"l" * 16,
        sequence=1,
        report=bytes(32),
        reason="over_metered",
        expected="at most 0 ms by now",
        found="1 ms",
        refused_at=NOW,
    )
    return replace(plain, **changes)


def an_input(**changes: Any) -> InputFile:
    return replace(InputFile(target="/work/in", size=10, sha256=bytes(32)), **changes)


ALL_RECORDS = (
    (SELLER, an_offer()),
    (BUYER, a_bid()),
    (BUYER, an_award()),
    (SELLER, a_lease()),
    (SELLER, a_refusal()),
    (BUYER, a_receipt_refusal()),
    (SELLER, a_report()),
)
"""One of each kind of signed record, with its author."""
