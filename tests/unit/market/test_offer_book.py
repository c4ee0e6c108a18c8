"""The book: newest version wins, nothing misdated gets in, and nobody fills it at will."""

from __future__ import annotations

import pytest

from market import offer_book
from market.knowledge import Known
from market.offer_book import Intake, OfferBook
from market.records import Offer, Requirements
from market.signing import Verified
from market.speeds import speed_of
from tests.fakes.samples import NOW, SELLER, a_refusal, a_signer, an_ask, an_offer, offered_by

SKEW = 60_000


@pytest.fixture
def book() -> OfferBook:
    return OfferBook(max_skew_ms=SKEW)


def _offer(**changes: object) -> Verified[Offer]:
    return SELLER.sign(an_offer(**changes))


def test_a_newer_version_replaces_an_older_one_and_never_the_reverse(book: OfferBook):
    assert book.take(_offer(version=2), NOW) is Intake.ADDED
    assert book.take(_offer(version=2), NOW) is Intake.KNOWN
    assert book.take(_offer(version=2, price=5), NOW) is Intake.OLDER
    assert book.take(_offer(version=1), NOW) is Intake.OLDER
    assert book.take(_offer(version=3, price=7), NOW) is Intake.REPLACED
    assert [offer.record.price for offer in book.live(NOW)] == [7]
    assert len(book) == 1


def test_versions_of_two_machines_and_two_providers_do_not_meet(book: OfferBook):
    assert book.take(_offer(version=9), NOW) is Intake.ADDED
    assert book.take(_offer(version=1, machine="m1"), NOW) is Intake.ADDED
    assert book.take(offered_by(a_signer("other"), version=1), NOW) is Intake.ADDED
    assert len(book) == 3


@pytest.mark.parametrize(
    ("issued", "expires", "verdict"),
    [
        (0, 0, Intake.EXPIRED),
        (0, 1, Intake.ADDED),
        (SKEW, 60_000, Intake.ADDED),
        (SKEW + 1, 60_000, Intake.FROM_THE_FUTURE),
        (0, SKEW + offer_book.MAX_TTL_MS, Intake.ADDED),
        (0, SKEW + offer_book.MAX_TTL_MS + 1, Intake.LIVES_TOO_LONG),
    ],
)
def test_the_borders_of_time(book: OfferBook, issued: int, expires: int, verdict: Intake):
    assert book.take(_offer(issued_at=NOW + issued, expires_at=NOW + expires), NOW) is verdict
    assert len(book) == (verdict is Intake.ADDED)


def test_an_offer_dies_the_moment_it_says(book: OfferBook):
    book.take(_offer(expires_at=NOW + 1_000), NOW)
    assert len(list(book.live(NOW + 999))) == 1
    assert list(book.live(NOW + 1_000)) == []
    assert book.drop_expired(NOW + 999) == 0
    assert book.drop_expired(NOW + 1_000) == 1
    assert len(book) == 0


def test_a_provider_has_so_many_machines_and_no_more(book: OfferBook):
    for number in range(offer_book.MAX_MACHINES_PER_PROVIDER):
        assert book.take(_offer(machine=f"m{number}", expires_at=NOW + 1_000 + number), NOW) is Intake.ADDED
    assert book.take(_offer(machine="one more"), NOW) is Intake.TOO_MANY
    assert book.take(_offer(machine="m0", version=2), NOW) is Intake.REPLACED
    assert book.take(offered_by(a_signer("other")), NOW) is Intake.ADDED
    # Its own offers that expired make room again.
    book.drop_expired(NOW + 1_001)
    assert book.take(_offer(machine="one more"), NOW) is Intake.ADDED


def test_a_full_book_drops_the_expired_first_and_then_what_came_from_the_busiest_peer():
    book = OfferBook(max_skew_ms=SKEW, max_offers=4)
    honest = offered_by(a_signer("honest"), machine="mine", expires_at=NOW + 8_000)
    book.take(honest, NOW, source=b"neighbour")
    for number, life in enumerate((5_000, 1_000, 9_000)):
        book.take(_offer(machine=f"m{number}", expires_at=NOW + life), NOW, source=b"flooder")
    assert book.take(_offer(machine="m3", expires_at=NOW + 7_000), NOW, source=b"flooder") is Intake.ADDED
    assert _machines(book, NOW) == {"mine", "m1", "m2", "m3"}, "the flood pushed out something else than itself"
    assert book.take(_offer(machine="m4", expires_at=NOW + 20_000), NOW + 1_000, source=b"flooder") is Intake.ADDED
    assert _machines(book, NOW + 1_000) == {"mine", "m2", "m3", "m4"}


def test_a_machine_said_again_and_again_takes_one_line_of_the_calendar(book: OfferBook):
    for version in range(1, 500):
        book.take(_offer(version=version, expires_at=NOW + 1_000 + version), NOW)
    assert book.drop_expired(NOW + 1_498) == 0
    assert book.drop_expired(NOW + 1_499) == 1
    assert len(book) == 0


def test_a_withdrawn_machine_stays_away(book: OfferBook):
    book.take(_offer(version=2), NOW)
    gone = _offer(version=3, withdrawn=True, expires_at=NOW + 90_000)
    assert book.take(gone, NOW) is Intake.WITHDRAWN
    assert (len(book), list(book.live(NOW)), list(book.tombstones(NOW))) == (0, [], [gone])
    assert book.take(_offer(version=2), NOW) is Intake.OLDER, "an older version came back"
    assert list(book.tombstones(NOW + 90_000)) == []
    assert book.take(_offer(version=4), NOW) is Intake.REPLACED, "its owner may sell it again"
    assert len(book) == 1


def test_a_withdrawal_heard_first_keeps_the_offer_out(book: OfferBook):
    assert book.take(_offer(version=3, withdrawn=True), NOW) is Intake.WITHDRAWN
    assert book.take(_offer(version=2), NOW) is Intake.OLDER
    assert len(book) == 0
    book.drop_expired(NOW + 60_000)
    assert list(book.tombstones(NOW)) == []


def test_what_is_known_of_a_provider_ranks_its_offers_anew(book: OfferBook):
    book.take(_offer(), NOW)
    (before,) = book.rows(NOW)
    book.know(SELLER.key, Known(reputation=400, rtt_us=7_000, failure=90, speed=123, link_mbps=1_000, opening=9))
    (after,) = book.rows(NOW)
    assert (before.reputation, after.reputation) == (1000, 400)
    assert (after.rtt_us, after.latency, after.failure, after.speed, after.opening) == (7_000, 7, 90, 123, 9)
    assert after.link < before.link
    book.take(_offer(version=2), NOW)
    assert next(book.rows(NOW)).reputation == 400, "a refresh forgot it"


def test_an_owner_may_not_claim_any_speed(book: OfferBook):
    book.take(_offer(gpu="RTX4090", speed=1_000_000), NOW)
    assert next(book.rows(NOW)).speed == 2 * speed_of("RTX4090")


def _machines(book: OfferBook, now: int) -> set[str]:
    return {offer.record.machine for offer in book.live(now)}


def test_a_refusal_corrects_the_version_it_speaks_of(book: OfferBook):
    offer = _offer(version=5, free_slots=2)
    book.take(offer, NOW)
    book.learn(a_refusal(version=4, free_slots=0), "m0")
    assert book.free_slots(offer.record) == 2, "it spoke of an older version"
    book.learn(a_refusal(version=5, free_slots=1), "m0")
    assert book.free_slots(offer.record) == 1
    newer = _offer(version=6, free_slots=2)
    book.take(newer, NOW)
    assert book.free_slots(newer.record) == 2, "a newer offer says what is true now"


def test_a_refusal_never_adds_slots(book: OfferBook):
    offer = _offer(version=5, free_slots=1)
    book.take(offer, NOW)
    book.learn(a_refusal(version=5, free_slots=4096), "m0")
    assert book.free_slots(offer.record) == 1


def test_a_refusal_about_an_offer_that_is_gone_is_not_kept(book: OfferBook):
    """A provider could otherwise grow our memory by one machine name per auction, for ever."""
    book.learn(a_refusal(version=5, free_slots=0), "m0")
    book.take(_offer(version=4, free_slots=2), NOW)
    assert book.free_slots(an_offer(version=4, free_slots=2)) == 2
    book.learn(a_refusal(version=5, free_slots=0), "m0")
    assert book.free_slots(an_offer(version=4, free_slots=2)) == 0
    book.drop_expired(NOW + 60_000)
    book.take(_offer(version=4, free_slots=2, expires_at=NOW + 90_000), NOW + 60_000)
    assert book.free_slots(an_offer(version=4, free_slots=2)) == 2


def test_a_refresh_compiles_to_the_same_as_an_offer_heard_first(book: OfferBook):
    """The short way by position must not mix up two columns."""
    book.take(_offer(version=1, price=77, cpu_milli=3, memory_mib=5, disk_mib=7, driver="535.1"), NOW)
    newer = _offer(
        version=2,
        price=77,
        cpu_milli=3,
        memory_mib=5,
        disk_mib=7,
        driver="535.1",
        free_slots=1,
        expires_at=NOW + 61_000,
    )
    book.take(newer, NOW)
    fresh = OfferBook(max_skew_ms=SKEW)
    fresh.take(newer, NOW)
    assert list(book.rows(NOW)) == list(fresh.rows(NOW))
    assert next(iter(book.index.rows())) == next(iter(fresh.index.rows()))


def test_the_going_price_may_be_told_and_is_that_of_the_models_asked_for():
    book = OfferBook(max_skew_ms=60_000)
    for number, (gpu, price) in enumerate([("RTX 4090", 10), ("RTX 4090", 30), ("H100", 500)]):
        book.take(offered_by(a_signer(f"seller {number}"), gpu=gpu, price=price), NOW)
    assert (book.going_price(("rtx4090",)), book.going_price(("H100",))) == (10, 500)
    assert book.going_price(("A100",)) == 0
    ask = an_ask(requirements=Requirements(gpus=("H100",)))
    assert book.compile(ask, NOW).reference == book.going_price(("H100",))
    assert book.compile(ask, NOW, reference=7).reference == 7


def test_a_late_word_about_an_older_version_does_not_undo_a_newer_one(book: OfferBook):
    book.take(_offer(version=7, free_slots=2), NOW)
    book.learn(a_refusal(version=7, free_slots=0), "m0")
    book.learn(a_refusal(version=6, free_slots=1), "m0")
    assert book.free_slots(_offer(version=7, free_slots=2).record) == 0


def test_the_going_price_is_that_of_live_offers_whenever_the_book_was_swept(book: OfferBook):
    book.take(_offer(machine="old", price=10, expires_at=NOW + 1_000), NOW)
    book.take(_offer(machine="new", price=30), NOW)
    book.take(_offer(machine="short", version=1, price=20), NOW)
    book.take(_offer(machine="short", version=2, price=20, expires_at=NOW + 500), NOW)
    assert book.compile(an_ask(), NOW + 2_000).reference == 30
