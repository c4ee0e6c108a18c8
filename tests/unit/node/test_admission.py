"""Gossip at the door: each condition has its verdict, in the order from cheap to dear."""

from __future__ import annotations

import pytest

from market import codec
from market.errors import PeerFault
from market.offer_book import MAX_TTL_MS
from market.records import Bid, Offer, Requirements
from market.signing import Claim, Verified
from node import admission, wire
from node.admission import VerifiedRecords, judge_batch, pack_batch
from node.ports import Verdict
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid, a_signer, an_offer

OFFER = SELLER.sign(an_offer())
SKEW = wire.MAX_CLOCK_SKEW_MS
SPOILED = OFFER.raw[:-1] + bytes([OFFER.raw[-1] ^ 1])


def ahead(milliseconds: int) -> dict[str, int]:
    """Dates that lie so far ahead."""
    return {"issued_at": NOW + milliseconds, "expires_at": NOW + milliseconds + 60_000}


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
        (b"\xdc\x00\x01\xc4\x00", "not_canonical"),
        (codec.pack({}), "not_a_batch"),
        (codec.pack(OFFER.raw), "not_a_batch"),
        (codec.pack([OFFER.raw, 5]), "not_a_batch"),
        (codec.pack([[OFFER.raw]]), "not_a_batch"),
        (codec.pack([]), "batch_size"),
        (codec.pack([b""] * (wire.MAX_BATCH_RECORDS + 1)), "batch_size"),
        (codec.pack([b""]), "undecodable"),
        (codec.pack([codec.pack({})]), "bad_field"),
        (codec.pack([SPOILED]), "bad_signature"),
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
    ("changes", "verdict", "reason"),
    [
        ({"expires_at": NOW + 1}, Verdict.ACCEPT, ""),
        ({"expires_at": NOW}, Verdict.IGNORE, "expired"),
        ({"issued_at": 1, "expires_at": 2}, Verdict.IGNORE, "expired"),
        (ahead(SKEW), Verdict.ACCEPT, ""),
        (ahead(SKEW + 1), Verdict.IGNORE, "from_the_future"),
        (ahead(3 * SKEW), Verdict.IGNORE, "from_the_future"),
        (ahead(3 * SKEW + 1), Verdict.REJECT, "far_future"),
        (ahead(10**12), Verdict.REJECT, "far_future"),
        ({"expires_at": NOW + MAX_TTL_MS}, Verdict.ACCEPT, ""),
        ({"expires_at": NOW + MAX_TTL_MS + 1}, Verdict.REJECT, "lives_too_long"),
    ],
)
def test_dates_are_the_forwarders_fault_only_where_no_clock_can_excuse_them(
    changes: dict[str, int], verdict: Verdict, reason: str
):
    for message, kind in (
        (pack_batch([SELLER.sign(an_offer(**changes))]), Offer),
        (pack_batch([BUYER.sign(a_bid(**changes))]), Bid),
    ):
        judged = judge_batch(message, VerifiedRecords(kind), NOW)
        assert (judged.verdict, judged.reason) == (verdict, reason)


@pytest.mark.parametrize("ours", [-SKEW, 0, SKEW])
@pytest.mark.parametrize("theirs", [-SKEW, 0, SKEW])
@pytest.mark.parametrize("authors", [-SKEW, 0, SKEW, 2 * SKEW, 4 * SKEW])
def test_of_two_honest_nodes_none_punishes_the_other_for_a_strangers_dates(ours: int, theirs: int, authors: int):
    """All clocks are wrong by at most the tolerated skew; the author may lie as it likes."""
    message = pack_batch([SELLER.sign(an_offer(**ahead(authors)))])
    if judge_batch(message, VerifiedRecords(Offer), NOW + theirs).verdict is Verdict.ACCEPT:
        assert judge_batch(message, VerifiedRecords(Offer), NOW + ours).verdict is not Verdict.REJECT


def test_what_is_late_or_early_does_not_hold_up_what_is_in_time():
    late = SELLER.sign(an_offer(machine="late", expires_at=NOW))
    early = SELLER.sign(an_offer(machine="early", **ahead(2 * SKEW)))
    judged = judge_batch(pack_batch([late, OFFER, early]), VerifiedRecords(Offer), NOW)
    assert (judged.verdict, judged.records) == (Verdict.ACCEPT, (OFFER,))


def hostile(**changes: object) -> bytes:
    """An offer that was signed although no offer may look like it."""
    body = codec.pack({**codec.unpack(codec.pack_record(an_offer())), **changes})
    signature = SELLER._private_key.sign(b"computefabric/offer/1\0" + body)
    return codec.pack([codec.pack({"body": body, "key": SELLER.key, "sig": signature})])


def test_a_signed_offer_that_is_in_order_would_pass():
    assert judge_batch(hostile(zeal=1), VerifiedRecords(Offer), NOW).verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (hostile(price=-1), "bad_field"),
        (hostile(price=10**15 + 1), "bad_field"),
        (hostile(price=2**64 - 1), "bad_field"),
        (hostile(version=0), "bad_field"),
        (hostile(free_slots=-1), "bad_field"),
        (hostile(total_slots=0), "bad_field"),
        (hostile(issued_at=-1), "bad_field"),
        (hostile(expires_at=2**63), "bad_field"),
        (hostile(provider=BUYER.key), "wrong_author"),
        (hostile(provider=b"short"), "bad_field"),
        (hostile(machine="x" * 65), "bad_field"),
        (hostile(machine=5), "bad_field"),
        (hostile(images=["x"] * 17), "bad_field"),
        (hostile(images=["x" * 81]), "bad_field"),
        (hostile(granted=[bytes(8)] * 65), "bad_field"),
        (hostile(granted=[bytes(9)]), "bad_field"),
        (hostile(withdrawn=1), "bad_field"),
        (hostile(settlement=None), "bad_field"),
        (hostile(**{f"field{number}": number for number in range(1_500)}), "oversized"),
        (hostile(zeal="x" * wire.MAX_GOSSIP_RECORD), "oversized"),
        (codec.pack([codec.pack({f"{number}": 0 for number in range(2_000)})]), "bad_field"),
        (codec.pack([b"\xdf\x00\x0f\x42\x40" + bytes(10_000)]), "undecodable"),
        (codec.pack([b"\xdf\x00\x0f\x42\x40" + b"\xa1a\x00" * 5_000]), "undecodable"),
        (codec.pack([b"\xdf\x00\x0f\x42\x40" + b"\xa1a\x00" * 19_000]), "oversized"),
        (codec.pack([OFFER.raw] * (wire.MAX_BATCH_RECORDS + 1)), "batch_size"),
    ],
)
def test_a_hostile_offer_costs_its_forwarder(message: bytes, reason: str):
    """Bounds on prices and on everything else, a million fields said and thousands there, other people's names."""
    judged = judge_batch(message, VerifiedRecords(Offer), NOW)
    assert (judged.verdict, judged.records, judged.reason) == (Verdict.REJECT, (), reason)


def test_a_full_batch_of_the_largest_number_is_accepted():
    offers = [a_signer(f"p{number}") for number in range(wire.MAX_BATCH_RECORDS)]
    message = pack_batch([signer.sign(an_offer(provider=signer.key)) for signer in offers])
    assert len(message) <= wire.MAX_GOSSIP_BYTES
    assert len(judge_batch(message, VerifiedRecords(Offer), NOW).records) == wire.MAX_BATCH_RECORDS


def test_the_longest_offer_and_bid_that_can_be_written_are_no_longer_than_may_be():
    word = "w" * 64
    offer = an_offer(
        **dict.fromkeys(("machine", "gpu", "region", "isolation", "jurisdiction", "driver"), word),
        runtimes=(word,) * 8,
        granted=(bytes(8),) * 64,
        images=("i" * 80,) * 16,
        addresses=("a" * 256,) * 8,
    )
    needs = Requirements(gpus=(word,) * 32, regions=(word,) * 64, jurisdictions=(word,) * 64, runtime=word, driver=word)
    for record, signer in ((offer, SELLER), (a_bid(requirements=needs, strategy=word, weights=(1000,) * 4), BUYER)):
        message = pack_batch([signer.sign(record)])
        assert judge_batch(message, VerifiedRecords(type(record)), NOW).verdict is Verdict.ACCEPT


def test_what_was_verified_is_found_again_until_newer_records_took_its_place():
    kept = VerifiedRecords(Offer, kept=3)
    raws = [SELLER.sign(an_offer(version=number)).raw for number in range(1, 5)]
    first = kept.check(kept.read(raws[0]))
    for raw in raws[1:3]:
        kept.check(kept.read(raw))
    assert kept.check(kept.read(raws[0])) is first
    kept.check(kept.read(raws[3]))
    assert [raw in kept for raw in raws] == [True, False, True, True]


def test_what_was_verified_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch):
    raws = [SELLER.sign(an_offer(version=number)).raw for number in range(1, 5)]
    monkeypatch.setattr(admission, "BYTES_KEPT", 2 * len(raws[0]))
    kept = VerifiedRecords(Offer)
    for raw in raws:
        kept.check(kept.read(raw))
    assert [raw in kept for raw in raws] == [False, False, True, True]


def test_a_bad_record_is_not_remembered_as_good():
    kept = VerifiedRecords(Offer)
    for _ in range(2):
        with pytest.raises(PeerFault):
            kept.check(kept.read(SPOILED))


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


def test_signatures_are_checked_last_once_and_only_of_what_is_in_time(monkeypatch: pytest.MonkeyPatch):
    checked: list[bytes] = []
    check = Claim.check

    def note(claim: Claim[Offer]) -> Verified[Offer]:
        checked.append(claim.raw)
        return check(claim)

    monkeypatch.setattr(Claim, "check", note)
    verified = VerifiedRecords(Offer)
    late = SELLER.sign(an_offer(machine="late", expires_at=NOW)).raw
    far = SELLER.sign(an_offer(machine="far", **ahead(10**9))).raw
    for batch, verdict in (
        ([OFFER.raw, b"junk"], Verdict.REJECT),
        ([OFFER.raw, far], Verdict.REJECT),
        ([late], Verdict.IGNORE),
    ):
        assert judge_batch(codec.pack(batch), verified, NOW).verdict is verdict
    assert checked == []
    judged = judge_batch(codec.pack([OFFER.raw, late, OFFER.raw, SPOILED, OFFER.raw]), verified, NOW)
    assert (judged.verdict, judged.reason) == (Verdict.REJECT, "bad_signature")
    assert checked == [OFFER.raw, SPOILED]
    assert judge_batch(codec.pack([OFFER.raw] * 8), verified, NOW).records == (OFFER,)
    assert checked == [OFFER.raw, SPOILED]


def test_what_the_sender_cannot_afford_is_not_looked_at():
    judged = judge_batch(codec.pack([b"no envelope"]), VerifiedRecords(Offer), NOW, afford=lambda count: False)
    assert (judged.verdict, judged.reason) == (Verdict.POSTPONE, "too_many_records")
