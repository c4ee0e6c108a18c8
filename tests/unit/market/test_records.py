"""The bounds of every field: the last value that passes and the first that does not."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Struct

from market import codec
from market.errors import PeerFault
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
    Requirements,
    Settlement,
    UsageReport,
)
from tests.fakes.samples import (
    SETTLEMENT,
    SPEC,
    TERMS,
    a_bid,
    a_lease,
    a_quote,
    a_receipt_refusal,
    a_refusal,
    a_report,
    an_award,
    an_input,
    an_offer,
)

SAMPLES: dict[type[Struct], Struct] = {
    type(record): record
    for record in (
        an_offer(),
        a_bid(),
        a_quote(),
        an_award(),
        a_lease(),
        a_refusal(),
        a_report(),
        a_receipt_refusal(),
        an_input(),
        Requirements(),
        SETTLEMENT,
        TERMS,
        SPEC,
    )
}
YEAR_9999 = 253_402_300_799_999
MONTH = 31 * 86_400_000

NUMBERS: list[tuple[type[Struct], str, int, int]] = [
    (Settlement, "chain_id", 1, 2**53),
    (PaymentTerms, "tick_ms", 200, 3_600_000),
    (PaymentTerms, "grace_ms", 200, 3_600_000),
    (PaymentTerms, "fund_within_ms", 500, 3_600_000),
    (PaymentTerms, "start_within_ms", 1_000, 86_400_000),
    (PaymentTerms, "final_within_ms", 1_000, 86_400_000),
    (Offer, "version", 1, 2**53),
    (Offer, "issued_at", 0, YEAR_9999),
    (Offer, "expires_at", 0, YEAR_9999),
    (Offer, "free_slots", 0, 4096),
    (Offer, "total_slots", 1, 4096),
    (Offer, "vram_mib", 0, 1_000_000),
    (Offer, "cpu_milli", 0, 1_000_000),
    (Offer, "memory_mib", 0, 2**31),
    (Offer, "disk_mib", 0, 2**31),
    (Offer, "price", 0, 10**15),
    (Offer, "cuda_milli", 0, 1_000_000),
    (Offer, "notice_ms", 0, 86_400_000),
    (Offer, "speed", 0, 1_000_000),
    (Offer, "net_mbps", 0, 1_000_000),
    (Requirements, "slots", 1, 4096),
    (Requirements, "vram_mib", 0, 1_000_000),
    (Requirements, "vram_max_mib", 0, 1_000_000),
    (Requirements, "cpu_milli", 0, 1_000_000),
    (Requirements, "memory_mib", 0, 2**31),
    (Requirements, "disk_mib", 0, 2**31),
    (Requirements, "cuda_milli", 0, 1_000_000),
    (Requirements, "min_notice_ms", 0, 86_400_000),
    (Requirements, "min_reputation", 0, 1000),
    (InputFile, "size", 0, 2**40),
    (JobSpec, "shm_mib", 0, 1_000_000),
    (JobSpec, "max_duration_ms", 1_000, MONTH),
    (JobSpec, "fund_ahead_ms", 0, MONTH),
    (Bid, "issued_at", 0, YEAR_9999),
    (Bid, "expires_at", 0, YEAR_9999),
    (Quote, "price", 0, 10**15),
    (Quote, "issued_at", 0, YEAR_9999),
    (Quote, "expires_at", 0, YEAR_9999),
    (Award, "offer_version", 1, 2**53),
    (Award, "price", 0, 10**15),
    (Award, "slots", 1, 4096),
    (Award, "max_duration_ms", 1_000, MONTH),
    (Award, "chain_id", 1, 2**53),
    (Award, "issued_at", 0, YEAR_9999),
    (Award, "expires_at", 0, YEAR_9999),
    (Lease, "fencing", 1, 2**53),
    (Lease, "granted_at", 0, YEAR_9999),
    (Refusal, "free_slots", 0, 4096),
    (Refusal, "version", 0, 2**53),
    (Refusal, "price", 0, 10**15),
    (UsageReport, "sequence", 1, 2**53),
    (UsageReport, "measured_at", 0, YEAR_9999),
    (UsageReport, "started_at", 0, YEAR_9999),
    (UsageReport, "gpu_ms", 0, 2**53),
    (UsageReport, "cpu_ms", 0, 2**53),
    (UsageReport, "memory_peak_mib", 0, 2**31),
    (UsageReport, "amount", 0, 2**63 - 1),
    (UsageReport, "exit_code", -1, 255),
    (UsageReport, "price", 0, 10**15),
    (UsageReport, "lane_before", 0, 2**63 - 1),
    (UsageReport, "lane_after", 0, 2**63 - 1),
    (UsageReport, "fencing", 0, 2**53),
    (ReceiptRefusal, "sequence", 1, 2**53),
    (ReceiptRefusal, "refused_at", 0, YEAR_9999),
]
EXACT_BYTES: list[tuple[type[Struct], str, int]] = [
    (Settlement, "escrow", 20),
    (Settlement, "payee", 20),
    (Offer, "provider", 32),
    (InputFile, "sha256", 32),
    (Bid, "requester", 32),
    (Bid, "bid_id", 16),
    (Bid, "spec_hash", 32),
    (Quote, "provider", 32),
    (Quote, "bid_id", 16),
    (Quote, "offer_id", 32),
    (Award, "requester", 32),
    (Award, "provider", 32),
    (Award, "bid_id", 16),
    (Award, "offer_id", 32),
    (Award, "spec_hash", 32),
    (Award, "escrow", 20),
    (Award, "payer", 20),
    (Award, "signer", 20),
    (Award, "payee", 20),
    (Award, "lane_proof", 64),
    (Award, "transcript", 32),
    (Lease, "provider", 32),
    (Lease, "lease_id", 16),
    (Refusal, "provider", 32),
    (Refusal, "bid_id", 16),
    (UsageReport, "provider", 32),
    (UsageReport, "lease_id", 16),
    (UsageReport, "previous", 32),
    (ReceiptRefusal, "requester", 32),
    (ReceiptRefusal, "lease_id", 16),
    (ReceiptRefusal, "report", 32),
    (Award, "lane_proof", 64),
]
LONGEST: list[tuple[type[Struct], str, int, object]] = [
    (Offer, "machine", 64, "x"),
    (Offer, "gpu", 64, "x"),
    (Offer, "region", 64, "x"),
    (Offer, "isolation", 64, "x"),
    (Offer, "driver", 64, "x"),
    (Offer, "jurisdiction", 64, "x"),
    (Offer, "granted", 64, [b"8 bytes."]),
    (Offer, "runtimes", 8, ["runc"]),
    (Offer, "images", 16, ["x" * 80]),
    (Offer, "addresses", 8, ["x" * 256]),
    (Requirements, "gpus", 32, ["x" * 64]),
    (Requirements, "regions", 64, ["x" * 64]),
    (Requirements, "jurisdictions", 64, ["x" * 64]),
    (Requirements, "runtime", 64, "x"),
    (Requirements, "driver", 64, "x"),
    (InputFile, "target", 512, "x"),
    (JobSpec, "image", 512, "x"),
    (UsageReport, "detail", 512, "x"),
    (JobSpec, "network", 64, "x"),
    (JobSpec, "command", 1024, ["x"]),
    (JobSpec, "outputs", 64, ["x" * 512]),
    (Bid, "strategy", 64, "x"),
    (Bid, "weights", 4, [1000]),
    (Quote, "machine", 64, "x"),
    (Award, "quote", 1024, b"x"),
    (Award, "machine", 64, "x"),
    (Lease, "award", 8192, b"x"),
    (Lease, "slots", 4096, [0]),
    (Refusal, "detail", 512, "x"),
    (UsageReport, "exit_reason", 64, "x"),
    (UsageReport, "account_signature", 64, b"x"),
    (Lease, "grants", 4096, [bytes(64)]),
    (ReceiptRefusal, "reason", 64, "x"),
    (ReceiptRefusal, "expected", 512, "x"),
    (ReceiptRefusal, "found", 512, "x"),
]
ITEMS: list[tuple[type[Struct], str, int]] = [
    (Offer, "runtimes", 64),
    (Offer, "images", 80),
    (Offer, "addresses", 256),
    (Requirements, "gpus", 64),
    (Requirements, "regions", 64),
    (Requirements, "jurisdictions", 64),
    (JobSpec, "command", 131_072),
    (JobSpec, "outputs", 512),
]


def read(kind: type[Struct], **changes: Any) -> Any:
    """Encode the sample with some fields replaced, and read it as a peer would."""
    plain = codec.unpack(codec.pack_record(SAMPLES[kind]))
    return codec.unpack_record(codec.pack({**plain, **changes}), kind, limit=2**20)


def refused(kind: type[Struct], **changes: Any) -> bool:
    with pytest.raises(PeerFault) as fault:
        read(kind, **changes)
    return fault.value.code == "bad_field"


@pytest.mark.parametrize(("kind", "field", "least", "most"), NUMBERS, ids=lambda part: getattr(part, "__name__", part))
def test_a_number_stays_in_its_range(kind: type[Struct], field: str, least: int, most: int):
    assert getattr(read(kind, **{field: least}), field) == least
    assert getattr(read(kind, **{field: most}), field) == most
    assert refused(kind, **{field: least - 1})
    assert refused(kind, **{field: most + 1})
    assert refused(kind, **{field: str(least)})
    assert refused(kind, **{field: None})


@pytest.mark.parametrize(("kind", "field", "length"), EXACT_BYTES, ids=lambda part: getattr(part, "__name__", part))
def test_an_identifier_has_its_exact_length(kind: type[Struct], field: str, length: int):
    assert getattr(read(kind, **{field: b"i" * length}), field) == b"i" * length
    assert refused(kind, **{field: b"i" * (length - 1)})
    assert refused(kind, **{field: b"i" * (length + 1)})
    assert refused(kind, **{field: "i" * length})


@pytest.mark.parametrize(("kind", "field", "most", "unit"), LONGEST, ids=lambda part: str(part)[:24])
def test_a_text_or_list_has_a_greatest_length(kind: type[Struct], field: str, most: int, unit: Any):
    assert len(getattr(read(kind, **{field: unit * most}), field)) == most
    assert refused(kind, **{field: unit * most + unit})


@pytest.mark.parametrize(("kind", "field", "most"), ITEMS, ids=lambda part: str(part)[:24])
def test_an_item_of_a_list_has_a_greatest_length(kind: type[Struct], field: str, most: int):
    assert read(kind, **{field: ["x" * most]})
    assert refused(kind, **{field: ["x" * (most + 1)]})


def test_a_weight_and_the_name_of_a_granted_bid_are_bounded():
    assert refused(Bid, weights=[1001])
    assert refused(Bid, weights=[-1])
    assert refused(Offer, granted=[b"7 bytes"])
    assert refused(Offer, granted=[b"nine byte"])


def test_the_environment_of_a_job_is_bounded():
    assert len(read(JobSpec, env={f"K{n}": "" for n in range(256)}).env) == 256
    assert refused(JobSpec, env={f"K{n}": "" for n in range(257)})
    assert read(JobSpec, env={"K": "x" * 32_768})
    assert refused(JobSpec, env={"K": "x" * 32_769})


def test_a_job_names_a_bounded_number_of_inputs():
    one = codec.unpack(codec.pack_record(an_input()))
    assert len(read(JobSpec, inputs=[one] * 256).inputs) == 256
    assert refused(JobSpec, inputs=[one] * 257)


def test_a_lease_holds_at_least_one_slot_and_only_slots_there_can_be():
    assert refused(Lease, slots=[])
    assert read(Lease, slots=[4095]).slots == (4095,)
    assert refused(Lease, slots=[4096])
    assert refused(Lease, slots=[-1])


def test_a_refusal_has_one_of_the_known_reasons():
    assert refused(Refusal, reason="because")


def test_every_field_of_every_record_has_a_bound():
    """A field added without a bound fails here: each is in a list above, or of a type that bounds itself."""
    known = {(row[0], row[1]) for rows in (NUMBERS, EXACT_BYTES, LONGEST) for row in rows}
    bounded_by_type = {
        (Offer, "simulated"),
        (Offer, "settlement"),
        (Offer, "terms"),
        (Offer, "interruptible"),
        (Offer, "withdrawn"),
        (Requirements, "allow_simulated"),
        (Requirements, "interruptible"),
        (JobSpec, "env"),
        (JobSpec, "requirements"),
        (JobSpec, "inputs"),
        (Bid, "requirements"),
        (Award, "terms"),
        (Refusal, "reason"),
        (UsageReport, "final"),
    }
    fields = {(kind, field) for kind in SAMPLES for field in kind.__struct_fields__}
    assert fields == known | bounded_by_type
