"""Gossip at the door: each condition has its verdict, in the order from cheap to dear."""

from __future__ import annotations

import pytest

from market import codec
from market.errors import PeerFault
from market.records import Bid, Offer
from node import admission, wire
from node.admission import VerifiedRecords, judge_batch, pack_batch
from node.ports import Verdict
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, a_signer, an_offer

OFFER = SELLER.sign(an_offer())


def test_a_batch_of_good_offers_is_accepted_in_order():
    offers = [SELLER.sign(an_offer(machine=f"m{number}")) for number in range(5)]
    judged = judge_batch(pack_batch(offers), VerifiedRecords(Offer), NOW)
    assert judged.verdict is Verdict.ACCEPT
    assert list(judged.records) == offers


def test_bids_are_judged_by_the_same_rules():
    bid = BUYER.sign(a_bid())
    assert judge_batch(pack_batch([bid]), VerifiedRecords(Bid), NOW).records == (bid,)
    assert judge_batch(pack_batch([bid]), VerifiedRecords(Offer), NOW).verdict is Verdict.REJECT


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"x" * (wire.MAX_GOSSIP_BYTES + 1), "oversized"),
        (b"", "undecodable"),
        (b"\xc1", "undecodable"),
        (b"\xdc\x00\x01\xa0", "not_canonical"),
        (codec.pack({}), "not_a_batch"),
        (codec.pack(OFFER.raw), "not_a_batch"),
        (codec.pack([OFFER.raw, 5]), "not_a_batch"),
        (codec.pack([[OFFER.raw]]), "not_a_batch"),
        (codec.pack([]), "batch_size"),
        (codec.pack([b""] * (wire.MAX_BATCH_RECORDS + 1)), "batch_size"),
        (codec.pack([b""]), "undecodable"),
        (codec.pack([codec.pack({})]), "bad_field"),
        (codec.pack([OFFER.raw[:-1] + b"\x00"]), "bad_signature"),
    ],
)
def test_what_breaks_a_rule_is_rejected(message: bytes, reason: str):
    judged = judge_batch(message, VerifiedRecords(Offer), NOW)
    assert (judged.verdict, judged.records) == (Verdict.REJECT, ())
    assert judged.reason == reason


def test_one_bad_record_spoils_its_batch():
    """Whoever packed it had to check it first: an honest node never forwards it."""
    forged = codec.unpack(OFFER.raw)
    forged["sig"] = bytes(64)
    judged = judge_batch(codec.pack([OFFER.raw, codec.pack(forged)]), VerifiedRecords(Offer), NOW)
    assert (judged.verdict, judged.records, judged.reason) == (Verdict.REJECT, (), "bad_signature")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"expires_at": NOW + 1}, Verdict.ACCEPT),
        ({"expires_at": NOW}, Verdict.IGNORE),
        ({"issued_at": NOW + wire.MAX_CLOCK_SKEW_MS}, Verdict.ACCEPT),
        ({"issued_at": NOW + wire.MAX_CLOCK_SKEW_MS + 1}, Verdict.IGNORE),
    ],
)
def test_time_is_never_the_forwarders_fault(changes: dict[str, int], verdict: Verdict):
    assert judge_batch(pack_batch([SELLER.sign(an_offer(**changes))]), VerifiedRecords(Offer), NOW).verdict is verdict


def test_what_is_late_or_early_does_not_hold_up_what_is_in_time():
    late = SELLER.sign(an_offer(machine="late", expires_at=NOW))
    early = SELLER.sign(an_offer(machine="early", issued_at=NOW + 10**6))
    judged = judge_batch(pack_batch([late, OFFER, early]), VerifiedRecords(Offer), NOW)
    assert (judged.verdict, judged.records) == (Verdict.ACCEPT, (OFFER,))


def test_the_reason_of_an_ignored_batch_is_told():
    assert (
        judge_batch(pack_batch([SELLER.sign(an_offer(expires_at=1))]), VerifiedRecords(Offer), NOW).reason == "expired"
    )
    early = SELLER.sign(an_offer(issued_at=NOW + 10**6))
    assert judge_batch(pack_batch([early]), VerifiedRecords(Offer), NOW).reason == "from_the_future"


def test_a_full_batch_of_the_largest_number_is_accepted():
    offers = [a_signer(f"p{number}") for number in range(wire.MAX_BATCH_RECORDS)]
    message = pack_batch([signer.sign(an_offer(provider=signer.key)) for signer in offers])
    assert len(message) <= wire.MAX_GOSSIP_BYTES
    assert len(judge_batch(message, VerifiedRecords(Offer), NOW).records) == wire.MAX_BATCH_RECORDS


def test_what_was_verified_is_found_again_until_newer_records_took_its_place():
    kept = VerifiedRecords(Offer, kept=3)
    raws = [SELLER.sign(an_offer(version=number)).raw for number in range(1, 5)]
    first = kept.verify(raws[0])
    for raw in raws[1:3]:
        kept.verify(raw)
    assert kept.verify(raws[0]) is first
    kept.verify(raws[3])
    assert [raw in kept for raw in raws] == [True, False, True, True]


def test_what_was_verified_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch):
    raws = [SELLER.sign(an_offer(version=number)).raw for number in range(1, 5)]
    monkeypatch.setattr(admission, "BYTES_KEPT", 2 * len(raws[0]))
    kept = VerifiedRecords(Offer)
    for raw in raws:
        kept.verify(raw)
    assert [raw in kept for raw in raws] == [False, False, True, True]


def test_a_bad_record_is_not_remembered_as_good():
    kept = VerifiedRecords(Offer)
    for _ in range(2):
        with pytest.raises(PeerFault):
            kept.verify(OFFER.raw[:-1] + b"\x00")


def test_only_what_is_new_is_charged_and_only_when_it_has_the_right_form():
    verified, charged = VerifiedRecords(Offer), []
    fresh = SELLER.sign(an_offer(machine="fresh"))

    def afford(count: int) -> bool:
        charged.append(count)
        return True

    judge_batch(codec.pack([b""] * (wire.MAX_BATCH_RECORDS + 1)), verified, NOW, afford=afford)
    judge_batch(pack_batch([OFFER]), verified, NOW, afford=afford)
    judge_batch(pack_batch([OFFER, fresh, fresh]), verified, NOW, afford=afford)
    judge_batch(pack_batch([OFFER, fresh]), verified, NOW, afford=afford)
    assert charged == [1, 1]


def test_what_the_sender_cannot_afford_is_not_looked_at():
    judged = judge_batch(codec.pack([b"no envelope"]), VerifiedRecords(Offer), NOW, afford=lambda count: False)
    assert (judged.verdict, judged.reason) == (Verdict.POSTPONE, "too_many_records")
