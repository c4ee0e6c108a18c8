"""Who is kept off which machines, for whom, and for how long."""

from __future__ import annotations

from contextlib import ExitStack

from market.knowledge import Known
from market.offer_book import OfferBook
from market.queueing import HOLDS_AFTER_MS, Waiting
from market.records import Requirements
from node.held_machines import HeldMachines, best_hosts
from tests.fakes.desks import SetClock
from tests.fakes.samples import NOW, a_refusal, a_signer, an_ask, offered_by, some_limits

A, B, C = (a_signer(name) for name in "abc")


def waiting(number: int, *, since: int = NOW, length: int = 60_000) -> Waiting:
    return Waiting(number=number, since=since, length=length)


class Node:
    """Jobs that wait for several slots, and the clock they wait by."""

    def __init__(self) -> None:
        self.clock = SetClock()
        self.held = HeldMachines(self.clock)
        self.asked: list[int] = []
        self.line = ExitStack()

    def waits(self, job: Waiting, *hosts: bytes, slots: int = 2) -> None:
        def choose() -> frozenset[bytes]:
            self.asked.append(job.number)
            return frozenset(hosts)

        self.line.enter_context(self.held.waiting(job, slots, choose))

    def later(self, milliseconds: int) -> None:
        self.clock.now += milliseconds


def test_others_are_kept_off_once_it_has_waited_long_and_it_itself_is_not():
    node = Node()
    node.waits(waiting(1), A.key)
    assert node.held.kept_from(2) == frozenset()
    node.later(HOLDS_AFTER_MS)
    assert node.held.kept_from(2) == {A.key}
    assert node.held.kept_from(1) == frozenset()
    node.later(HOLDS_AFTER_MS)
    assert node.held.kept_from(2) == frozenset(), "then the others go first for a while"
    node.later(2 * HOLDS_AFTER_MS)
    assert node.held.kept_from(2) == {A.key}
    node.line.close()
    assert node.held.kept_from(2) == frozenset()


def test_one_that_needs_one_slot_holds_nothing():
    node = Node()
    node.waits(waiting(1), A.key, slots=1)
    node.later(HOLDS_AFTER_MS)
    assert node.held.kept_from(2) == frozenset()


def test_of_several_only_the_first_in_turn_holds():
    node = Node()
    node.waits(waiting(1, length=600_000), A.key)
    node.waits(waiting(2), B.key)
    node.later(HOLDS_AFTER_MS)
    assert node.held.kept_from(3) == {B.key}
    assert node.held.kept_from(1) == {B.key}


def test_the_book_is_not_gone_through_for_every_job_in_the_line():
    node = Node()
    node.waits(waiting(1), A.key)
    node.later(HOLDS_AFTER_MS)
    for number in range(2, 50):
        node.held.kept_from(number)
    assert node.asked == [1]
    node.later(60_000)
    node.held.kept_from(2)
    assert node.asked == [1, 1], "machines come and go"


def a_book() -> OfferBook:
    book = OfferBook(max_skew_ms=60_000)
    for signer, free, total in ((A, 0, 4), (B, 1, 4), (C, 2, 2)):
        book.take(offered_by(signer, free_slots=free, total_slots=total), NOW)
    return book


def test_the_host_is_one_that_could_serve_it_empty_and_has_most_room():
    four = an_ask(requirements=Requirements(slots=4))
    assert best_hosts(a_book(), four, 1, NOW) == {B.key}
    assert best_hosts(a_book(), four, 2, NOW) == {A.key, B.key}
    assert best_hosts(a_book(), four, 5, NOW) == {A.key, B.key}
    assert best_hosts(a_book(), an_ask(requirements=Requirements(slots=2)), 1, NOW) == {C.key}
    assert best_hosts(a_book(), an_ask(requirements=Requirements(slots=5)), 1, NOW) == frozenset()


def test_who_would_not_be_bought_from_is_no_host():
    ask = an_ask(requirements=Requirements(slots=4), limits=some_limits(deny=(B.key,)))
    assert best_hosts(a_book(), ask, 1, NOW) == {A.key}
    picky, book = an_ask(requirements=Requirements(slots=4, min_reputation=900)), a_book()
    book.know(B.key, Known(reputation=100))
    assert best_hosts(book, picky, 1, NOW) == {A.key}


def test_room_is_what_a_provider_said_last():
    book = a_book()
    book.learn(a_refusal(provider=C.key, free_slots=0), "m0")
    assert best_hosts(book, an_ask(requirements=Requirements(slots=2)), 1, NOW) == {B.key}
