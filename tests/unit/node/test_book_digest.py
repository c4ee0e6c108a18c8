"""Two books compared: what differs is shown, all of it, once, and hardly anything else."""

from __future__ import annotations

from functools import cache

import pytest

from market import codec
from market.errors import PeerFault
from market.records import Offer
from market.signing import Verified, verify
from node.book_digest import (
    BUCKETS,
    LATER,
    MAX_NAME,
    MAX_QUESTION,
    BookView,
    Question,
    name_of,
    read_page,
    read_question,
)
from tests.fakes.samples import a_signer, offered_by

LIMIT = 1024 * 1024


@cache
def offers(count: int, version: int = 1) -> tuple[Verified[Offer], ...]:
    """One machine each of so many providers."""
    return tuple(offered_by(a_signer(f"p{number}"), version=version) for number in range(count))


def ask(asker: BookView, teller: BookView, *, limit: int = LIMIT) -> list[list[bytes]]:
    """Every page that one book shows another."""
    pages, after = [], b""
    while True:
        answer = teller.answer(read_question(asker.question(after)), limit=limit)
        assert len(answer) <= limit
        page = read_page(answer, after=after, limit=limit)
        assert page is not None
        pages.append(page.envelopes)
        if not page.then:
            return pages
        after = page.then


def raws(*books: tuple[Verified[Offer], ...]) -> list[bytes]:
    """Envelopes in the order of names."""
    found = [offer for book in books for offer in book]
    return [offer.raw for offer in sorted(found, key=lambda offer: name_of(offer.record))]


def test_equal_books_have_nothing_to_say():
    for count in (0, 1, 50, 300):
        assert ask(BookView(offers(count)), BookView(offers(count)[::-1])) == [[]]


def test_an_empty_book_is_shown_everything_in_the_order_of_names():
    assert ask(BookView(()), BookView(offers(300))) == [raws(offers(300))]


def test_nothing_at_all_asks_for_everything():
    assert read_question(b"") == Question()
    answer = BookView(offers(30)).answer(Question(), limit=LIMIT)
    assert codec.unpack(answer, limit=LIMIT)[1:] == raws(offers(30))


@pytest.mark.parametrize("count", [10, 200, 700])
def test_what_one_lacks_or_has_older_is_shown_and_little_more(count: int):
    lacking, older = offers(count)[3], offers(count, version=2)[5]
    mine = BookView([offer for offer in offers(count) if offer is not lacking])
    theirs = BookView([older if offer is offers(count)[5] else offer for offer in offers(count)])
    ((*shown,),) = ask(mine, theirs)
    assert {lacking.raw, older.raw} <= set(shown)
    assert len(shown) <= 10


def test_what_only_the_asker_has_is_not_the_tellers_business():
    assert ask(BookView(offers(64)), BookView(())) == [[]]
    shown = ask(BookView(offers(300)), BookView(offers(299)))
    assert sum(map(len, shown)) <= 5


def test_withdrawals_are_shown_like_offers():
    gone = offered_by(a_signer("p1"), version=9, withdrawn=True)
    mine, theirs = BookView(offers(3)), BookView([offers(3)[0], gone, offers(3)[2]])
    assert [verify(raw, Offer).record.withdrawn for page in ask(mine, theirs) for raw in page] == [True]


def test_pages_together_are_the_whole_and_repeat_nothing():
    pages = ask(BookView(()), BookView(offers(120)), limit=16_000)
    assert len(pages) > 3
    assert [raw for page in pages for raw in page] == raws(offers(120))


def test_machines_of_one_provider_may_fall_on_several_pages():
    signer = a_signer("many")
    machines = tuple(offered_by(signer, machine=f"m{number}") for number in range(40))
    pages = ask(BookView(offers(10)), BookView((*offers(10), *machines)), limit=8_000)
    assert len(pages) > 3
    assert [raw for page in pages for raw in page if raw in raws(machines)] == raws(machines)


def test_a_walk_may_begin_anywhere():
    view, half = BookView(offers(100)), b"\x80"
    page = read_page(view.answer(Question(after=half), limit=LIMIT), after=half, limit=LIMIT)
    assert page is not None
    assert page.envelopes == raws(tuple(offer for offer in offers(100) if offer.record.provider >= half))


def test_digests_depend_on_names_and_versions_only_where_they_are():
    for buckets in BUCKETS:
        before, after = (BookView(book).digests(buckets) for book in (offers(60), (*offers(59), offers(60, 2)[59])))
        assert len(before) == buckets * 8
        differ = [place for place in range(buckets) if before[place * 8 : place * 8 + 8] != after[place * 8 :][:8]]
        first_bits = int.from_bytes(offers(60)[59].record.provider[:2], "big")
        assert differ == [first_bits * buckets >> 16]


def test_a_question_is_bounded():
    view = BookView(offers(700))
    assert len(view.question(b"\xff" * MAX_NAME)) <= MAX_QUESTION
    assert read_question(view.question(b"x")) == Question(have=view.digests(BUCKETS[-1]), after=b"x")


@pytest.mark.parametrize(
    "raw",
    [
        b"\xc1",
        codec.pack({}),
        codec.pack([]),
        codec.pack([b""]),
        codec.pack([b"", 5]),
        codec.pack([b"", b"", b""]),
        codec.pack([b"x" * (MAX_NAME + 1), b""]),
        codec.pack([b"", bytes(64)]),
        codec.pack([b"", bytes(BUCKETS[-1] * 16)]),
        bytes(MAX_QUESTION + 1),
    ],
)
def test_a_question_of_another_form_is_a_fault(raw: bytes):
    with pytest.raises(PeerFault):
        read_question(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        codec.pack(5),
        codec.pack([5]),
        codec.pack([b"", [b"x"]]),
        codec.pack([b"k"]),
        codec.pack([b"k", b"raw"]),
        codec.pack([b"j", b"raw"]),
        codec.pack([b"l"]),
        codec.pack([b"", b"raw", b"raw"]),
        codec.pack([b"x" * (MAX_NAME + 1), b"raw"]),
        bytes(LIMIT + 1),
    ],
)
def test_a_page_of_another_form_or_that_goes_nowhere_is_a_fault(raw: bytes):
    with pytest.raises(PeerFault):
        read_page(raw, after=b"k", limit=LIMIT)


def test_later_is_no_page():
    assert read_page(LATER, after=b"", limit=LIMIT) is None
