"""What is learned changes the ranking at once, and is still known after a restart."""

from __future__ import annotations

from market.ask import JobFacts
from market.conduct import FIRST_PAUSE_MS
from market.job_history import Run
from market.lease import LeaseState
from market.offer_book import OfferBook
from market.records import ExitReason, RefusalReason
from node.experience import Experience
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW, SELLER, SPEC, TERMS, a_refusal, a_signer, an_award, an_offer


class Clock:
    now = NOW

    def now_ms(self) -> int:
        return self.now


class Desk:
    """An experience over a book with one offer, and what is needed to start it again."""

    def __init__(self) -> None:
        self.journal, self.clock = MemoryJournal(), Clock()
        self.opened: set[bytes] = set()
        self.again()

    def again(self) -> None:
        self.book = OfferBook(max_skew_ms=60_000)
        self.book.take(SELLER.sign(an_offer()), NOW)
        self.seen = Experience(
            self.book, self.journal, self.clock, opening=lambda key: 0 if key in self.opened else 1_500
        )

    async def restart(self) -> None:
        self.again()
        await self.seen.restore()


def a_state(reason: ExitReason) -> LeaseState:
    return LeaseState(price=1, slots=1, max_duration_ms=1_000, terms=TERMS, since=0, exit_reason=reason)


async def test_a_broken_lease_is_remembered_over_a_restart():
    desk = Desk()
    await desk.seen.ended(SELLER.key, a_state(ExitReason.LOST), by_us=False)
    before = desk.book.known(SELLER.key)
    assert before.reputation == 500
    assert before.failure > 20
    await desk.restart()
    assert desk.book.known(SELLER.key) == before
    assert next(desk.book.rows(NOW)).reputation == 500


async def test_two_baits_and_it_is_left_alone_for_a_while():
    desk = Desk()
    for version in (1, 2):
        refusal = a_refusal(reason=RefusalReason.STALE_PRICE, version=version)
        await desk.seen.refused(an_award(offer_version=version), refusal)
    assert desk.seen.quiet() == (SELLER.key,)
    await desk.restart()
    assert desk.seen.quiet() == (SELLER.key,)
    desk.clock.now += FIRST_PAUSE_MS
    assert desk.seen.quiet() == ()


async def test_who_does_not_stand_by_its_quotes_is_not_asked_for_more_and_is_dealt_with_all_the_same():
    desk = Desk()
    for _ in range(2):
        await desk.seen.refused(an_award(), a_refusal(reason=RefusalReason.BAD_QUOTE))
    await desk.restart()
    assert desk.seen.quotes_in_vain(SELLER.key)
    assert desk.seen.quiet() == ()
    assert desk.book.known(SELLER.key).reputation == 1000
    desk.clock.now += FIRST_PAUSE_MS
    assert not desk.seen.quotes_in_vain(SELLER.key)


async def test_a_refusal_that_says_nothing_is_not_written_down():
    desk = Desk()
    await desk.seen.refused(an_award(), a_refusal(version=9))
    assert await desk.journal.get_all("experience/") == {}


async def test_an_honoured_award_is_counted():
    desk = Desk()
    await desk.seen.honoured(SELLER.key)
    assert desk.seen.conduct(SELLER.key).honoured == 1


async def test_a_line_is_timed_by_what_went_over_it_and_small_files_do_not_count():
    desk = Desk()
    await desk.seen.moved(SELLER.key, 1_000, 0.001)
    assert desk.book.known(SELLER.key).link_mbps == 0
    await desk.seen.moved(SELLER.key, 125_000_000, 10.0)
    assert desk.book.known(SELLER.key).link_mbps == 100
    await desk.seen.moved(SELLER.key, 125_000_000, 2.0)
    assert desk.book.known(SELLER.key).link_mbps == 200


async def test_round_trips_are_used_and_not_kept():
    desk = Desk()
    desk.seen.round_trip(SELLER.key, 7_000)
    assert desk.book.known(SELLER.key).rtt_us == 7_000
    await desk.restart()
    assert desk.book.known(SELLER.key).rtt_us == 0


async def test_an_open_lane_costs_nothing_to_use_again():
    desk = Desk()
    desk.seen.round_trip(SELLER.key, 7_000)
    assert desk.book.known(SELLER.key).opening == 1_500
    desk.opened.add(SELLER.key)
    desk.seen.lane_changed(SELLER.key)
    assert desk.book.known(SELLER.key).opening == 0


async def test_the_length_of_a_job_is_learned_and_then_the_speed_of_a_machine():
    desk = Desk()
    plain = JobFacts(max_ms=3_600_000)
    for name in ("one", "two", "three"):
        await desk.seen.ran("train", SPEC, Run(provider=a_signer(name).key, run_ms=600_000, speed=1000))
    assert desk.seen.facts("train", SPEC, plain).work_ms == 600_000
    assert desk.seen.facts("another", SPEC, plain) == plain
    await desk.seen.ran("train", SPEC, Run(provider=SELLER.key, run_ms=1_200_000, speed=1000))
    assert desk.book.known(SELLER.key).speed == 500
    await desk.restart()
    assert desk.book.known(SELLER.key).speed == 500
    assert desk.seen.runs("train", SPEC) == 4


async def test_values_that_cannot_be_read_are_left_out():
    desk = Desk()
    await desk.journal.append([], {"experience/provider/" + SELLER.key.hex(): b"\xff", "experience/job/00": b"x"})
    await desk.restart()
    assert desk.seen.conduct(SELLER.key).reputation == 1000


async def test_a_full_disk_does_not_stop_an_auction():
    desk = Desk()
    desk.journal.full = True
    await desk.seen.honoured(SELLER.key)
    assert desk.seen.conduct(SELLER.key).honoured == 1
