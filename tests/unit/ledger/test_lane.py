"""The books of a lane: what each fact does, and what may not follow."""

from __future__ import annotations

import pytest
from msgspec import Struct

from ledger.lane import MAX_OPEN_LEASES, LaneBooks, apply, chain_seen, same_view, summarise
from ledger.lane_facts import (
    FACTS,
    MAX_BOOKED,
    AmountVouched,
    ChainSeen,
    CloseConsented,
    DepositIntended,
    DepositSettled,
    LaneOpened,
    LateVoucherTaken,
    LeaseClosed,
    LeaseCovered,
    LeaseOpened,
    TransactionMined,
)
from ledger.ports import LaneKey, LaneOnChain
from market.codec import pack_record, unpack_record
from market.errors import BrokenInvariant

LANE = LaneKey(b"r" * 20, b"e" * 20, b"s" * 20)
A, B = b"a" * 16, b"b" * 16


def after(*facts: Struct, books: LaneBooks | None = None) -> LaneBooks:
    books = books or LaneBooks(lane=LANE)
    for fact in facts:
        books = apply(books, fact)
    return books


def seen(balance: int, claimed: int = 0, exit_at: int = 0, epoch: int = 0) -> ChainSeen:
    return ChainSeen(balance=balance, claimed=claimed, exit_at=exit_at, epoch=epoch, at_ms=5)


def vouched(lease: bytes, amount: int, cumulative: int) -> AmountVouched:
    return AmountVouched(lease_id=lease, amount=amount, cumulative=cumulative, signature=b"%064d" % cumulative)


def opened(lease: bytes, cap: int, cover: int | None = None) -> list[Struct]:
    return [
        LeaseOpened(lease_id=lease, cap=cap),
        LeaseCovered(lease_id=lease, cover=cap if cover is None else cover),
    ]


def test_free_is_what_is_neither_signed_nor_set_aside() -> None:
    books = after(seen(100), *opened(A, 40), *opened(B, 30, 10), vouched(A, 15, 15))

    assert (books.signed, books.counted, books.reserved, books.free) == (15, 15, 25 + 10, 100 - 15 - 35)


def test_closing_a_lease_frees_what_it_did_not_use_and_keeps_what_it_cost() -> None:
    books = after(seen(100), *opened(A, 40), vouched(A, 15, 15), LeaseClosed(lease_id=A))

    assert (books.base, books.counted, books.reserved, books.free) == (15, 15, 0, 85)


def test_vouchers_that_overtake_each_other_leave_signed_ahead_of_counted() -> None:
    books = after(seen(100), *opened(A, 40), *opened(B, 40), vouched(B, 5, 20))

    assert (books.signed, books.counted) == (20, 5)
    assert after(vouched(A, 15, 20), books=books).counted == 20


def test_money_claimed_beyond_our_books_is_not_signed_for_again() -> None:
    books = after(seen(100), *opened(A, 40), vouched(A, 10, 10), seen(100, claimed=25))

    assert (books.signed, books.counted, books.base, books.signature) == (25, 25, 15, b"")
    assert after(vouched(A, 12, 27), books=books).signed == 27


def test_a_debt_makes_free_negative() -> None:
    assert after(seen(100), *opened(A, 40), vouched(A, 40, 40), seen(10)).free == -30


def test_a_late_voucher_adds_to_what_is_over() -> None:
    books = after(seen(100), *opened(A, 40), vouched(A, 10, 10), LeaseClosed(lease_id=A))
    late = LateVoucherTaken(lease_id=A, more=5, cumulative=15, signature=b"late")

    assert after(late, books=books).base == 15


def test_a_giant_deposit_is_read_as_less() -> None:
    assert chain_seen(LaneOnChain(balance=2**95, claimed=2**94), 1).balance == MAX_BOOKED


def test_a_view_is_the_same_only_if_nothing_on_the_chain_moved() -> None:
    books = after(seen(100, 10, 7, 2))

    assert same_view(books, seen(100, 10, 7, 2))
    assert not any(same_view(books, s) for s in (seen(101, 10, 7, 2), seen(100, 11, 7, 2), seen(100, 10, 0, 2)))
    assert not same_view(books, seen(100, 10, 7, 3))
    assert not same_view(LaneBooks(lane=LANE), seen(0))


def test_the_summary_shows_what_is_held() -> None:
    summary = summarise(after(seen(100, 20), *opened(A, 40), vouched(A, 30, 50)))

    assert (summary.held, summary.signed, summary.reserved, summary.free) == (80, 50, 10, 40)
    assert summary.open_leases == 1


_OPEN = (seen(100), *opened(A, 40), vouched(A, 10, 10))


@pytest.mark.parametrize(
    "impossible",
    [
        LaneOpened(lane=LaneKey(b"x" * 20, b"e" * 20, b"s" * 20)),
        LeaseOpened(lease_id=A, cap=1),
        LeaseCovered(lease_id=A, cover=39),
        LeaseCovered(lease_id=A, cover=41),
        LeaseCovered(lease_id=B, cover=1),
        vouched(A, 9, 10),
        vouched(A, 41, 41),
        vouched(A, 20, 9),
        vouched(A, 20, 19),
        vouched(B, 1, 11),
        LeaseClosed(lease_id=B),
        LateVoucherTaken(lease_id=B, more=5, cumulative=14, signature=b""),
        DepositSettled(amount=1, landed=True),
        CloseConsented(epoch=0, cumulative=10, deadline_s=1),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_that_cannot_follow_is_refused(impossible: Struct) -> None:
    with pytest.raises(BrokenInvariant):
        after(impossible, books=after(*_OPEN))


def test_one_deposit_at_a_time() -> None:
    intent = DepositIntended(amount=5, balance_before=100)
    books = after(intent, books=after(*_OPEN))

    with pytest.raises(BrokenInvariant):
        after(intent, books=books)
    assert after(DepositSettled(amount=5, landed=False), books=books).deposit is None


def test_a_lane_holds_a_bounded_number_of_leases() -> None:
    facts = [LeaseOpened(lease_id=bytes([i // 256, i % 256]) * 8, cap=1) for i in range(MAX_OPEN_LEASES + 1)]
    full = after(*facts[:-1])

    assert len(pack_record(full)) < 64 * 1024
    with pytest.raises(BrokenInvariant):
        after(facts[-1], books=full)


def test_a_transaction_is_history_only() -> None:
    books = after(*_OPEN)
    assert after(TransactionMined(purpose="p", transaction=b"", block=1, succeeded=True), books=books) == books


def test_books_and_every_fact_survive_the_journal() -> None:
    books = after(*_OPEN, DepositIntended(amount=5, balance_before=100))
    assert unpack_record(pack_record(books), LaneBooks) == books
    for fact in (*_OPEN, LaneOpened(lane=LANE)):
        assert unpack_record(pack_record(fact), FACTS[type(fact).__name__]) == fact
