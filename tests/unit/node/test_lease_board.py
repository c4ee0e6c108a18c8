"""The board of a lease: durable before believed, and the same again after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from ledger.ports import JournalEntry, NewEntry
from ledger.voucher import encode_voucher, sign_voucher
from market import codec
from market.duties import Role
from market.errors import BrokenInvariant, PeerFault, Unavailable
from market.lease import CancelRequested, ContainerStarted, DeadlinePassed, LaneFunded, Stage
from market.records import UsageReport
from market.signing import Signer, verify
from market.usage import write_report
from node import lease_board
from node.lease_board import (
    MAX_REFUSALS,
    REPORT_PAID,
    REPORT_REFUSED,
    LeaseBoard,
    Opened,
    PaidReport,
    decode_fact,
    lease_id_of,
    load_board,
    open_boards,
    payment_fact,
)
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import BUYER, NOW, SALT, SELLER, SESSION_KEY, a_receipt_refusal, a_signer


def next_report(board: LeaseBoard, now: int, *, signer: Signer = SELLER, final: bool = False) -> Any:
    return signer.sign(
        write_report(board.state, provider=signer.key, lease_id=board.lease_id, chain=board.chain, now=now, final=final)
    )


async def running(journal: MemoryJournal) -> LeaseBoard:
    board = await a_board(journal)
    await board.record(LaneFunded(at=NOW, amount=1))
    await board.record(ContainerStarted(at=NOW, started_at=NOW))
    return board


async def same_after_restart(journal: MemoryJournal, board: LeaseBoard) -> LeaseBoard:
    again = await load_board(journal.crash(), board.stream)
    for name in (
        "state",
        "chain",
        "pending",
        "newest_paid",
        "passing",
        "refusals",
        "funded_at",
        "role",
        "lease",
        "award",
        "spec",
        "job_id",
    ):
        assert getattr(again, name) == getattr(board, name), name
    return again


async def test_a_fresh_board_is_granted_and_found_again():
    journal = MemoryJournal()
    board = await a_board(journal, Role.REQUESTER, job_id="j")
    assert board.state.stage is Stage.GRANTED
    assert (board.requester, board.provider) == (BUYER.key, SELLER.key)
    assert board.lane.payer == board.award.record.payer
    await same_after_restart(journal, board)


async def test_a_lease_id_is_bound_to_both_sides_and_the_bid():
    bid = b"b" * 16
    ids = {
        lease_id_of(BUYER.key, SELLER.key, bid),
        lease_id_of(SELLER.key, BUYER.key, bid),
        lease_id_of(BUYER.key, a_signer("x").key, bid),
        lease_id_of(BUYER.key, SELLER.key, b"c" * 16),
    }
    assert len(ids) == 4
    assert all(len(lease_id) == 16 for lease_id in ids)


async def test_every_fact_survives_a_restart():
    journal = MemoryJournal()
    board = await running(journal)
    assert board.funded_at == NOW
    await board.record(CancelRequested(at=NOW + 5))
    assert board.state.stage is Stage.ENDING
    await same_after_restart(journal, board)


async def test_an_illegal_fact_is_neither_written_nor_believed():
    journal = MemoryJournal()
    board = await a_board(journal)
    before = board.state
    assert not await board.record(ContainerStarted(at=NOW, started_at=NOW))
    assert board.state is before
    assert len(await journal.read(board.stream)) == 1


async def test_a_fact_the_disk_refused_is_not_believed():
    journal = MemoryJournal()
    board = await a_board(journal)
    journal.full = True
    with pytest.raises(Unavailable):
        await board.record(LaneFunded(at=NOW, amount=1))
    assert board.state.stage is Stage.GRANTED
    journal.full = False
    assert await board.record(LaneFunded(at=NOW, amount=1))


async def test_of_two_ends_at_the_same_moment_the_first_wins():
    board = await a_board(MemoryJournal())
    told: list[bool] = []

    async def tell(fact: object) -> None:
        told.append(await board.record(fact))  # type: ignore[arg-type]

    async with trio.open_nursery() as nursery:
        for fact in (DeadlinePassed(at=NOW), CancelRequested(at=NOW)):
            nursery.start_soon(tell, fact)
    assert sorted(told) == [False, True]
    assert board.state.stage is Stage.LAPSED


async def test_a_report_is_remembered_until_it_is_paid():
    journal = MemoryJournal()
    board = await running(journal)
    report = next_report(board, NOW + 1_000)
    await board.remember_report(report, NOW + 1_000)
    again = await same_after_restart(journal, board)
    assert again.pending == report


async def test_a_paid_report_extends_the_chain_and_is_pending_no_more():
    journal = MemoryJournal()
    board = await running(journal)
    report = next_report(board, NOW + 1_000)
    await board.remember_report(report, NOW + 1_000)
    row = encode_voucher(sign_voucher(SESSION_KEY, board.domain, board.lane, 500))
    fact = payment_fact(report.record, NOW + 1_200)
    assert await board.record(fact, paid=PaidReport(report=report.raw, row=row))
    assert board.pending is None
    assert (board.chain.sequence, board.chain.head, board.chain.first_seen_at) == (1, report.id, NOW + 1_200)
    assert (board.state.paid, board.chain.lane) == (report.record.amount, 500)
    await same_after_restart(journal, board)


async def test_a_refused_report_is_kept_with_its_refusal_once_for_each_reason():
    journal = MemoryJournal()
    board = await running(journal)
    report = next_report(board, NOW + 1_000)
    for reason in ("over_metered", "over_metered", "wrong_price"):
        record = a_receipt_refusal(lease_id=board.lease_id, report=report.id, reason=reason)
        await board.remember_refusal(report, BUYER.sign(record), NOW)
    assert sorted(board.refusals) == [(report.id, "over_metered"), (report.id, "wrong_price")]
    assert [entry.kind for entry in await journal.read(board.stream)].count(REPORT_REFUSED) == 2
    await same_after_restart(journal, board)


async def test_a_peer_that_goes_on_sending_what_is_refused_does_not_fill_the_disk():
    journal = MemoryJournal()
    board = await running(journal)
    for number in range(2 * MAX_REFUSALS):
        report = next_report(board, NOW + number)
        record = a_receipt_refusal(lease_id=board.lease_id, report=report.id)
        await board.remember_refusal(report, BUYER.sign(record), NOW)
    assert [entry.kind for entry in await journal.read(board.stream)].count(REPORT_REFUSED) == MAX_REFUSALS


async def test_a_payment_without_its_report_is_never_written():
    """Both in one transaction: a crash between them would lose the receipt, or pay for nothing."""
    journal = MemoryJournal()
    board = await running(journal)
    report = next_report(board, NOW + 1_000)
    await board.remember_report(report, NOW + 1_000)
    before = len(await journal.read(board.stream))
    journal.full = True
    with pytest.raises(Unavailable):
        await board.record(payment_fact(report.record, NOW), paid=PaidReport(report=report.raw, row=b"v"))
    assert len(await journal.read(board.stream)) == before
    assert (board.newest_paid, board.state.paid, board.chain.sequence) == (None, 0, 0)


async def test_notes_are_kept_and_change_nothing():
    journal = MemoryJournal()
    board = await running(journal)
    before = board.state
    await board.note("outputs", b"{}", NOW)
    assert board.state == before
    (entry,) = [entry for entry in await journal.read(board.stream) if entry.kind == "outputs"]
    assert decode_fact(entry) is None
    await same_after_restart(journal, board)


async def test_whoever_waits_for_a_change_is_woken_by_facts_and_notes():
    board = await a_board(MemoryJournal())
    woken: list[str] = []

    async def wait(name: str) -> None:
        await board.wait_change()
        woken.append(name)

    for name, act in (("fact", lambda: board.record(LaneFunded(at=NOW, amount=1))), ("note", lambda: _note(board))):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, name)
            await trio.testing.wait_all_tasks_blocked()
            await act()
    assert woken == ["fact", "note"]


async def _note(board: LeaseBoard) -> None:
    await board.note("outputs", b"{}", NOW)


async def test_a_stream_without_its_opening_is_a_broken_journal():
    with pytest.raises(BrokenInvariant):
        await load_board(MemoryJournal(), "lease/00")


async def test_a_lease_nobody_signed_opens_no_board():
    opened = Opened(role=Role.PROVIDER, lease=b"junk", spec=b"", salt=SALT)
    with pytest.raises(PeerFault):
        LeaseBoard(MemoryJournal(), opened, opened_at=NOW)


class SlowDisk(MemoryJournal):
    """What is appended is on its way for ever."""

    async def append(self, entries: Sequence[NewEntry], *args: Any, **options: Any) -> list[JournalEntry]:
        self._in_flight.append((tuple(entries), None))
        await trio.sleep_forever()


@pytest.mark.parametrize("reached_the_disk", [True, False])
async def test_leases_that_begin_together_are_all_there_after_a_crash_or_none(reached_the_disk: bool):
    boards = [await a_board(MemoryJournal(), Role.REQUESTER, bid_id=bytes([number]) * 16) for number in range(3)]
    openings = [
        Opened(role=Role.REQUESTER, lease=board.lease.raw, spec=codec.pack_record(board.spec)) for board in boards
    ]
    journal, also = SlowDisk(), NewEntry(stream="job/x", kind="leased", at_ms=NOW, body=b"{}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(open_boards, journal, openings, now=NOW, also=[also]))
        await trio.testing.wait_all_tasks_blocked()
        survivor = journal.crash(keep_in_flight=reached_the_disk)
        nursery.cancel_scope.cancel()
    found = await survivor.streams("lease/")
    assert (len(found), len(await survivor.read("job/x"))) == ((3, 1) if reached_the_disk else (0, 0))
    for stream in found:
        assert (await load_board(survivor, stream)).state.stage is Stage.GRANTED


async def test_when_leases_cannot_be_written_none_begins():
    board, journal = await a_board(MemoryJournal()), MemoryJournal()
    journal.full = True
    opened = Opened(role=Role.REQUESTER, lease=board.lease.raw, spec=codec.pack_record(board.spec))
    with pytest.raises(Unavailable):
        await open_boards(journal, [opened], now=NOW)
    assert await journal.streams("") == []


async def pay_next(board: LeaseBoard, number: int) -> None:
    now = NOW + 5_000 * number
    report = next_report(board, now)
    await board.remember_report(report, now)
    row = encode_voucher(sign_voucher(SESSION_KEY, board.domain, board.lane, max(1, report.record.amount)))
    assert await board.record(payment_fact(report.record, now), paid=PaidReport(report=report.raw, row=row))


async def test_a_lease_that_ticks_for_weeks_keeps_few_receipts_and_forgets_no_money(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease_board, "KEPT_WHOLE", 3)
    monkeypatch.setattr(lease_board, "KEPT_EVERY", 5)
    journal = MemoryJournal()
    board = await running(journal)
    for number in range(1, 24):
        await pay_next(board, number)
        board = await same_after_restart(board._journal, board)
        assert (board.chain.sequence, board.state.sequence) == (number, number)
    report = next_report(board, NOW + 200_000)
    await board.remember_report(report, NOW + 200_000)
    board = await same_after_restart(board._journal, board)
    assert board.pending == report
    stream = await board._journal.read(board.stream)
    kept = [msgspec.msgpack.decode(entry.body, type=PaidReport) for entry in stream if entry.kind == REPORT_PAID]
    assert [verify(one.report, UsageReport).record.sequence for one in kept] == [1, 2, 3, 4, 5, 9, 10, 14, 15, 19, 20]


async def test_what_was_let_pass_is_in_the_stream_before_the_lease_moves_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease_board, "KEPT_WHOLE", 1)
    journal = MemoryJournal()
    board = await running(journal)
    for number in range(1, 4):
        await pay_next(board, number)
    paid = board.state.paid
    assert board.passing is not None
    await board.record(CancelRequested(at=NOW + 60_000))
    assert board.passing is None
    kinds = [entry.kind for entry in await board._journal.read(board.stream)]
    assert kinds[-3:] == [REPORT_PAID, "PaymentReceived", "CancelRequested"]
    board = await same_after_restart(board._journal, board)
    assert board.state.paid == paid > 0
    await board.record(DeadlinePassed(at=NOW + 70_000))
    assert (await same_after_restart(board._journal, board)).state.paid == paid


async def test_a_disk_that_is_full_lets_nothing_pass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease_board, "KEPT_WHOLE", 0)
    journal = MemoryJournal()
    board = await running(journal)
    report = next_report(board, NOW + 1_000)
    journal.full = True
    with pytest.raises(Unavailable):
        await board.remember_report(report, NOW)
    with pytest.raises(Unavailable):
        await board.record(payment_fact(report.record, NOW), paid=PaidReport(report=report.raw, row=b""))
    assert (board.pending, board.newest_paid, board.chain.sequence) == (None, None, 0)
