"""What a tower says it holds is on disk, is really signed, and takes no more room than was given to its owner."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace

from ledger.ports import LaneKey
from ledger.voucher import Domain, SessionKey, Voucher, sign_voucher
from ledger.watch_book import MAX_ROWS, WatchBook
from market.errors import BrokenInvariant, PeerFault
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.mortal_journal import MortalJournal

DOMAIN = Domain(31337, b"e" * 20)
PAYEE, ANNA, BERT = b"p" * 20, b"A" * 32, b"B" * 32


def voucher(number: int, cumulative: int) -> Voucher:
    key = SessionKey(bytes([number + 1]) * 32)
    return sign_voucher(key, DOMAIN, LaneKey(payer=b"r" * 20, payee=PAYEE, signer=key.address), cumulative)


def rows(*vouchers: Voucher) -> bytes:
    return b"".join(one.row() for one in vouchers)


async def book_of(journal: MemoryJournal, per_peer: int = 3) -> WatchBook:
    book = WatchBook(journal, DOMAIN, per_peer=per_peer)
    await book.load()
    return book


async def test_the_newest_of_each_lane_is_held_and_survives_a_restart() -> None:
    book = await book_of(journal := MemoryJournal())
    assert await book.take(ANNA, PAYEE, rows(voucher(0, 5), voucher(1, 7), voucher(0, 9))) == 3
    assert await book.take(ANNA, PAYEE, rows(voucher(0, 8))) == 1
    again = await book_of(journal.crash())
    newest = {one.lane: one for one in (voucher(0, 9), voucher(1, 7))}
    assert again.vouchers == book.vouchers == newest
    assert again.peers == {ANNA: 2}


async def test_rows_that_no_key_signed_are_nobodys_voucher() -> None:
    book = await book_of(MemoryJournal())
    good = voucher(0, 5).row()
    bad = [b"", good[:-1], good + b"x", good * (MAX_ROWS + 1), good[:32] + bytes(64), good[:32] + b"\xff" * 64]
    for garbage in bad:
        with pytest.raises(PeerFault):
            await book.take(ANNA, PAYEE, garbage)
    with pytest.raises(PeerFault):
        await book.take(ANNA, PAYEE[:-1], good)
    assert not book.vouchers


async def test_an_amount_that_was_raised_on_the_way_draws_from_a_lane_that_is_nobodys() -> None:
    book = await book_of(MemoryJournal())
    signed = voucher(0, 5)
    await book.take(ANNA, PAYEE, signed.row()[:20] + (10**9).to_bytes(12, "big") + signed.row()[32:])
    assert signed.lane not in book.vouchers
    await book.take(ANNA, PAYEE, signed.row())
    assert book.vouchers[signed.lane].cumulative == 5


async def test_each_peer_has_its_places_and_no_more() -> None:
    book = await book_of(MemoryJournal(), per_peer=3)
    assert await book.take(ANNA, PAYEE, rows(*(voucher(n, 5) for n in range(5)))) == 3
    assert await book.take(ANNA, PAYEE, rows(voucher(4, 5), voucher(0, 6))) == 1
    assert await book.take(BERT, PAYEE, rows(voucher(4, 5))) == 1
    assert book.peers == {ANNA: 3, BERT: 1}
    # A newer voucher of a lane that somebody else handed in first takes no place of anybody's.
    assert await book.take(BERT, PAYEE, rows(voucher(0, 10))) == 1
    assert book.peers == {ANNA: 3, BERT: 1}


async def test_a_place_that_came_free_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.watch_book.MAX_PLACES", 4)
    book = await book_of(journal := MemoryJournal(), per_peer=9)
    assert await book.take(ANNA, PAYEE, rows(voucher(0, 5), voucher(1, 5), voucher(2, 5))) == 2
    await book.drop(voucher(0, 5).lane)
    await book.drop(voucher(0, 5).lane)
    assert await book.take(BERT, PAYEE, rows(voucher(2, 5))) == 1
    assert len(await journal.get_all("watch/")) == 2
    again = await book_of(journal.crash(), per_peer=9)
    assert set(again.vouchers) == {voucher(1, 5).lane, voucher(2, 5).lane}


async def test_vouchers_of_another_escrow_are_worth_nothing_here() -> None:
    book = await book_of(MemoryJournal())
    key = SessionKey(b"\x01" * 32)
    lane = LaneKey(payer=b"r" * 20, payee=PAYEE, signer=key.address)
    await book.take(ANNA, PAYEE, sign_voucher(key, replace(DOMAIN, chain_id=1), lane, 5).row())
    assert lane not in book.vouchers


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("writes", range(4))
async def test_a_crash_at_any_write_loses_nothing_that_was_confirmed(writes: int, kept: bool) -> None:
    journal = MortalJournal(MemoryJournal(), writes, kept=kept)
    book = await book_of(journal)
    confirmed = 4
    with suppress(BrokenInvariant):
        for cumulative in (5, 6, 7):
            await book.take(ANNA, PAYEE, rows(voucher(0, cumulative)))
            confirmed = cumulative
    died = journal.died
    assert died == (writes < 3)
    held = (await book_of(journal.crash())).vouchers
    newest = held[voucher(0, 0).lane].cumulative if held else 4
    assert newest == confirmed + (kept and died)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_crash_while_a_place_is_freed_frees_it_or_not(kept: bool) -> None:
    journal = MortalJournal(MemoryJournal(), 1, kept=kept)
    book = await book_of(journal)
    await book.take(ANNA, PAYEE, rows(voucher(0, 5)))
    with pytest.raises(BrokenInvariant):
        await book.drop(voucher(0, 5).lane)
    assert len((await book_of(journal.crash())).vouchers) == (not kept)


async def test_lanes_that_hold_nothing_give_way_when_the_book_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else lanes that somebody made up keep every honest provider out."""
    monkeypatch.setattr("ledger.watch_book.MAX_PLACES", 8)
    book = await book_of(journal := MemoryJournal(), per_peer=4)
    assert await book.take(ANNA, PAYEE, rows(*(voucher(n, 5) for n in range(4)))) == 4
    for number in range(4):
        book.saw(voucher(number, 5).lane, funded=number == 0)
    await book.drop(voucher(0, 5).lane)
    assert not book.proven(ANNA)
    assert await book.take(BERT, PAYEE, rows(*(voucher(n, 5) for n in range(10, 14)))) == 4
    held = {voucher(n, 5).lane for n in range(10, 14)}
    assert len(held & set(book.vouchers)) == 4
    assert len(book.vouchers) == 4
    again = await book_of(journal.crash(), per_peer=4)
    assert again.vouchers == book.vouchers


async def test_a_lane_that_holds_money_keeps_its_place_and_makes_room_for_its_peer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ledger.watch_book.MAX_PLACES", 4)
    book = await book_of(MemoryJournal(), per_peer=4)
    await book.take(ANNA, PAYEE, rows(voucher(0, 5)))
    book.saw(voucher(0, 5).lane, funded=True)
    assert (book.proven(ANNA), book.proven(BERT), list(book.unseen)) == (True, False, [])
    assert await book.take(BERT, PAYEE, rows(*(voucher(n, 5) for n in range(1, 4)))) == 2
    assert await book.take(ANNA, PAYEE, rows(*(voucher(n, 5) for n in range(11, 14)))) == 3
    assert book.peers == {ANNA: 4}
    assert voucher(0, 5).lane in book.vouchers
