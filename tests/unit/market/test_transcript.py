"""An award that follows from its transcript passes; one altered byte, or a better offer passed over, does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import to_builtins
from msgspec.structs import replace

from market import codec
from market.ask import Ask, JobFacts, ask_of
from market.decision import decide
from market.errors import InvalidRequest
from market.knowledge import Known
from market.native_index import open_index
from market.offer_book import OfferBook
from market.offer_index import OfferIndex
from market.records import Offer, PaymentTerms, Requirements
from market.signing import Signer, Verified, digest, verify
from market.transcript import (
    MAX_BYTES,
    AwardFile,
    Transcript,
    Try,
    check_award,
    pack_file,
    read_file,
    record_auction,
)
from tests.fakes.samples import (
    BUYER,
    NOW,
    SELLER,
    a_bid,
    a_lease,
    a_quote,
    a_refusal,
    a_signer,
    an_award,
    offered_by,
    some_limits,
)

SELLERS = [a_signer(f"s{number}") for number in range(4)]
JOB = JobFacts(max_ms=600_000)


class Auction:
    """Four offers at 100, 101, 102 and 103, and a bid for one of them."""

    def __init__(self) -> None:
        self.book = OfferBook(max_skew_ms=60_000)
        self.offers = [offered_by(seller, price=100 + number) for number, seller in enumerate(SELLERS)]
        for offer in self.offers:
            self.book.take(offer, NOW)
        self.book.know(SELLERS[1].key, Known(reputation=900, failure=30))
        self.bid = BUYER.sign(a_bid(requirements=Requirements(slots=2)))
        self.ask: Ask = ask_of(self.bid.record, some_limits(max_price=102), JOB)

    def file(self, place: int = 0, tries: tuple[Try, ...] = (), **changes: object) -> AwardFile:
        transcript = record_auction(self.book, self.bid, self.ask, now=NOW)
        offer = self.offers[place]
        award = an_award(offer, slots=2, transcript=transcript.digest, **changes)
        return pack(transcript, award, tries)


def pack(transcript: Transcript, award: object, tries: tuple[Try, ...] = ()) -> AwardFile:
    signed = BUYER.sign(award)  # type: ignore[type-var]
    return AwardFile(transcript=codec.pack_record(transcript), award=signed.raw, tries=tries)


def refusal_of(number: int, **changes: object) -> bytes:
    return SELLERS[number].sign(a_refusal(provider=SELLERS[number].key, **changes)).raw


def code_of(file: AwardFile) -> str:
    with pytest.raises(InvalidRequest) as error:
        check_award(file)
    return error.value.code


def test_the_best_offer_is_found_again():
    found = check_award(Auction().file())
    assert (found.place, found.offers, found.fitting, found.complete) == (1, 4, 3, True)
    assert (found.provider, found.price, found.refused, found.by_word) == (SELLERS[0].key, 100, 0, 0)
    assert found.expected_cost > 0


def test_a_better_offer_passed_over_is_noticed():
    assert code_of(Auction().file(place=1)) == "wrong_winner"


def test_a_better_offer_that_refused_explains_the_second_best():
    auction = Auction()
    tries = (Try(offer_id=auction.offers[0].id, refusal=refusal_of(0)),)
    found = check_award(auction.file(1, tries))
    assert (found.place, found.refused, found.by_word) == (2, 1, 0)


def test_a_provider_that_did_not_answer_is_the_requesters_word_and_counted_as_such():
    auction = Auction()
    tries = (Try(offer_id=auction.offers[0].id, word="unreachable"),)
    assert check_award(auction.file(1, tries)).by_word == 1


@pytest.mark.parametrize("wrong", [refusal_of(1), refusal_of(0, bid_id=b"x" * 16)])
def test_a_refusal_of_another_explains_nothing(wrong: bytes):
    auction = Auction()
    assert code_of(auction.file(1, (Try(offer_id=auction.offers[0].id, refusal=wrong),))) == "wrong_refusal"


def test_an_offer_that_does_not_fit_cannot_have_won():
    assert code_of(Auction().file(place=3)) == "wrong_winner"


def test_the_price_and_the_size_are_those_of_the_offer():
    assert code_of(Auction().file(price=101)) == "wrong_price"
    auction = Auction()
    transcript = record_auction(auction.book, auction.bid, auction.ask, now=NOW)
    assert (
        code_of(pack(transcript, an_award(auction.offers[0], slots=1, transcript=transcript.digest))) == "wrong_price"
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"provider": SELLERS[3].key}, "wrong_winner"),
        ({"machine": "another"}, "wrong_winner"),
        ({"offer_version": 2}, "wrong_winner"),
        ({"payee": b"f" * 20}, "wrong_account"),
        ({"escrow": b"f" * 20}, "wrong_account"),
        ({"chain_id": 1}, "wrong_account"),
        ({"terms": PaymentTerms()}, "wrong_terms"),
        ({"quote": b"none"}, "wrong_price"),
        ({"spec_hash": bytes(32)}, "wrong_bid"),
    ],
)
def test_an_award_that_names_the_best_offer_must_be_for_it(changes: dict[str, object], code: str):
    assert code_of(Auction().file(**changes)) == code


def test_every_part_of_the_transcript_is_what_the_award_names():
    """The private part too: a cap moved afterwards would make another offer the winner."""
    auction = Auction()
    file = auction.file()
    plain = codec.unpack_record(file.transcript, Transcript, limit=10**7)
    others = [
        replace(plain, limits=some_limits(max_price=10**6)),
        replace(plain, offers=plain.offers[1:]),
        replace(plain, now=NOW + 1),
        replace(plain, job=JobFacts(max_ms=1)),
        replace(plain, offers=(replace(plain.offers[0], known=Known(failure=1)), *plain.offers[1:])),
        replace(plain, offers=(replace(plain.offers[0], free=0), *plain.offers[1:])),
    ]
    for other in others:
        assert code_of(replace(file, transcript=codec.pack_record(other))) == "altered_transcript"


def test_no_single_byte_can_be_changed():
    data = pack_file(Auction().file())
    assert check_award(read_file(data)).place == 1
    for place in range(len(data)):
        spoilt = data[:place] + bytes([data[place] ^ 0x01]) + data[place + 1 :]
        with pytest.raises(InvalidRequest):
            read_file(spoilt)


def test_whoever_mends_the_hash_of_the_file_still_meets_the_signatures():
    """Every byte of the award, and of the transcript in it, is spoilt with the file's own hash made anew."""
    file = Auction().file()
    for field in ("award", "transcript"):
        raw = getattr(file, field)
        for place in range(0, len(raw), 5):
            spoilt = raw[:place] + bytes([raw[place] ^ 0x01]) + raw[place + 1 :]
            with pytest.raises(InvalidRequest):
                check_award(replace(file, **{field: spoilt}))


@pytest.mark.parametrize("data", [b"", b"hello", b"cfab award 1\n", b"cfab award 1\n" + b"x" * 40])
def test_what_is_no_award_file_is_said_to_be_none(data: bytes):
    with pytest.raises(InvalidRequest) as error:
        read_file(data)
    assert error.value.code in ("not_an_award", "altered_file")


def test_an_award_to_another_bid_is_noticed():
    auction = Auction()
    transcript = record_auction(auction.book, auction.bid, auction.ask, now=NOW)
    award = an_award(auction.offers[0], slots=2, transcript=transcript.digest, bid_id=b"other bid id ..."[:16])
    assert code_of(pack(transcript, award)) == "wrong_bid"


def test_the_lease_must_be_of_that_award():
    file = Auction().file()
    lease = SELLER.sign(a_lease())
    assert code_of(replace(file, lease=lease.raw)) == "wrong_lease"


def test_a_forged_offer_is_not_counted_with():
    auction = Auction()
    plain = record_auction(auction.book, auction.bid, auction.ask, now=NOW)
    raw = plain.offers[0].offer
    forged = replace(plain, offers=(replace(plain.offers[0], offer=raw[:-1] + bytes([raw[-1] ^ 1])), *plain.offers[1:]))
    award = an_award(auction.offers[0], slots=2, transcript=forged.digest)
    assert code_of(pack(forged, award)) == "bad_signature"


def test_an_offer_that_was_not_live_is_not_counted_with():
    auction = Auction()
    plain = record_auction(auction.book, auction.bid, auction.ask, now=NOW)
    late = replace(plain, now=NOW + 60_000)
    assert code_of(pack(late, an_award(auction.offers[0], slots=2, transcript=late.digest))) == "not_live"
    twice = replace(plain, offers=(*plain.offers, plain.offers[0]))
    assert code_of(pack(twice, an_award(auction.offers[0], slots=2, transcript=twice.digest))) == "not_live"


def test_what_the_requester_knew_is_part_of_the_decision():
    """Without it the cheapest would win; the transcript says why it did not."""
    auction = Auction()
    auction.book.know(SELLERS[0].key, Known(failure=500))
    assert decide(auction.book, auction.ask, now=NOW).matches[0].offer == auction.offers[1]
    assert check_award(auction.file(place=1)).place == 1


def test_free_slots_are_those_the_requester_counted_on():
    auction = Auction()
    auction.book.learn(a_refusal(provider=SELLERS[0].key, version=1, free_slots=1), "m0")
    assert decide(auction.book, auction.ask, now=NOW).matches[0].offer == auction.offers[1]
    assert check_award(auction.file(place=1)).place == 1


def test_a_quote_in_hand_wins_and_is_replayed():
    auction = Auction()
    quote: Verified[object] = SELLERS[2].sign(a_quote(auction.offers[2], price=50))  # type: ignore[assignment]
    transcript = record_auction(auction.book, auction.bid, auction.ask, now=NOW, quotes=[quote])  # type: ignore[list-item]
    award = an_award(auction.offers[2], slots=2, price=50, transcript=transcript.digest, quote=quote.raw)
    assert check_award(pack(transcript, award)).price == 50
    assert code_of(pack(transcript, replace(award, quote=b""))) == "wrong_price", "it does not show whose word that is"
    at_tag = an_award(auction.offers[2], slots=2, price=102, transcript=transcript.digest)
    assert code_of(pack(transcript, at_tag)) == "wrong_price"


def large_offer(seller: Signer, **changes: object) -> Verified[Offer]:
    """An offer in order, with fifteen kibibytes in it that only a newer program would know."""
    body = codec.pack(
        {**to_builtins(offered_by(seller, **changes).record, builtin_types=(bytes,)), "new": "x" * 15_000}
    )
    signature = seller._private_key.sign(b"computefabric/offer/1\0" + body)
    return verify(codec.pack({"body": body, "key": seller.key, "sig": signature}), Offer)


def test_a_market_too_large_to_write_down_still_proves_a_choice():
    auction, crowd = Auction(), [a_signer(f"large{number}") for number in range(10)]
    for number in range(500):
        auction.book.take(large_offer(crowd[number % 10], machine=f"m{number}", price=90 + number % 7), NOW)
    rivals = [(one := a_signer(f"rival{n}")).sign(a_bid(requester=one.key, bid_id=bytes([n]) * 16)) for n in range(20)]
    found = decide(auction.book, auction.ask, now=NOW, rivals=rivals)
    transcript = record_auction(auction.book, auction.bid, auction.ask, now=NOW, rivals=rivals)
    assert not transcript.complete
    assert len(codec.pack_record(transcript)) < MAX_BYTES // 2
    award = an_award(found.matches[0].offer, slots=2, transcript=transcript.digest)
    assert check_award(read_file(pack_file(pack(transcript, award)))).place == 1
    refused = [Try(offer_id=match.offer.id, word="gone") for match in found.matches[:-1]]
    last = an_award(found.matches[-1].offer, slots=2, transcript=transcript.digest)
    assert check_award(pack(transcript, last, tuple(refused))).place == len(found.matches)


def test_a_file_of_empty_lists_is_refused_before_it_fills_the_memory():
    many = 1 << 20
    parts = {name: codec.pack(name) + codec.pack(b"") for name in ("award", "transcript")}
    filling = codec.pack("zz") + b"\xdd" + many.to_bytes(4, "big") + b"\x90" * many
    body = b"\x83" + parts["award"] + parts["transcript"] + filling
    with pytest.raises(InvalidRequest) as error:
        read_file(b"cfab award 1\n" + digest(b"cfab award 1\n", body) + body)
    assert error.value.code == "oversized"


@pytest.mark.parametrize("index", [OfferIndex, open_index], ids=["in Python", "as built"])
@pytest.mark.parametrize(
    "job",
    [
        {"max_ms": -1}, {"max_ms": 2**64 - 1}, {"work_ms": 2**63}, {"work_ms": -1}, {"work_ms": 1, "work_speed": 2**63},
        {"work_ms": 2**40, "work_speed": 2**40}, {"image_mib": 2**63}, {"moved_mib": -5}, {"waiting": 2**63},
        {"waiting": -1},
    ],
)  # fmt: skip
def test_figures_of_no_job_are_refused_whatever_index_counts(job: dict[str, int], index: Callable[[], OfferIndex]):
    auction = Auction()
    honest = record_auction(auction.book, auction.bid, auction.ask, now=NOW)
    transcript = replace(honest, job=replace(honest.job, **job))
    file = pack(transcript, an_award(auction.offers[0], slots=2, transcript=transcript.digest))
    with pytest.raises(InvalidRequest) as error:
        check_award(file, index=index())
    assert error.value.code == "bad_figures"


@pytest.mark.parametrize(
    "figures", [{"max_price": 2**63}, {"max_price": -1}, {"max_rtt_us": -1}, {"max_rtt_us": 2**64 - 1}]
)
def test_limits_of_no_job_are_refused(figures: dict[str, int]):
    auction = Auction()
    honest = record_auction(auction.book, auction.bid, auction.ask, now=NOW)
    transcript = replace(honest, limits=replace(honest.limits, **figures))
    file = pack(transcript, an_award(auction.offers[0], slots=2, transcript=transcript.digest))
    assert code_of(file) == "bad_figures"
