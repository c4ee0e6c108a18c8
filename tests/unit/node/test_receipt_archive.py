"""What a node hands out of its receipts, and what it looks up on the chain for whoever checks them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ledger.voucher import encode_voucher, sign_voucher
from market.duties import Role
from market.errors import InvalidRequest
from market.lease import ContainerStarted, LaneFunded
from market.usage import write_report
from node.lane_history import LaneHistory
from node.lane_log import LaneLog
from node.lease_board import LeaseBoard, PaidReport, payment_fact
from node.receipt_archive import PIECE, ReceiptArchive, in_pieces
from node.receipt_audit import ChainView
from node.receipt_lines import Answered, LeaseReceipts
from tests.fakes.desks import a_board
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW, PAYEE, PAYER, SELLER, SESSION, SESSION_KEY
from tests.simulation.marketplace import SimulatedClock


async def no_card(_board: LeaseBoard) -> str:
    return "none"


async def an_archive(journal: MemoryJournal, account: bytes = PAYER) -> tuple[ReceiptArchive, MemoryChain]:
    chain = MemoryChain(SimulatedClock())
    chain.mint(account, 1_000)
    chain.give_gas(account)
    view = chain.view(account)
    history = LaneHistory(view, LaneLog(view, journal, start_block=0, is_ours=lambda _lane: True))
    return ReceiptArchive(journal, view, history, gpu_of=no_card), chain


async def paid_once(journal: MemoryJournal, **changes: Any) -> LeaseBoard:
    board = await a_board(journal, Role.REQUESTER, **changes)
    await board.record(LaneFunded(at=NOW, amount=1))
    await board.record(ContainerStarted(at=NOW, started_at=NOW))
    record = write_report(board.state, provider=SELLER.key, lease_id=board.lease_id, chain=board.chain, now=NOW + 5_000)
    row = encode_voucher(sign_voucher(SESSION_KEY, board.domain, board.lane, record.amount))
    await board.record(payment_fact(record, NOW), paid=PaidReport(report=SELLER.sign(record).raw, row=row))
    return board


async def test_all_leases_come_newest_first_each_with_its_answers():
    journal = MemoryJournal()
    await paid_once(journal, job_id="one", bid_id=b"1" * 16)
    two = await paid_once(journal, job_id="two", bid_id=b"2" * 16)
    archive, _ = await an_archive(journal)
    pieces = [piece async for piece in archive.evidence()]
    assert [piece["lease"]["job"] for piece in pieces if "lease" in piece] == ["two", "one"]
    assert pieces[0]["lease"]["lease"] == two.lease.raw.hex()
    assert pieces[0]["lease"]["gpu"] == "none"
    assert [list(piece) for piece in pieces] == [["lease"], ["answers"]] * 2
    for reference in ("two", two.lease_id.hex()):
        assert [piece async for piece in archive.evidence(reference)] == pieces[:2]
    assert [piece async for piece in archive.evidence("three")] == []


def test_a_long_lease_is_handed_out_in_pieces_of_a_bounded_size():
    answers = tuple(Answered(report=b"r", at=number) for number in range(2 * PIECE + 1))
    first, *rest = in_pieces(LeaseReceipts(role="", job="", gpu="", lease=b"", answers=answers))
    assert "answers" not in first["lease"]
    assert [len(piece["answers"]) for piece in rest] == [PIECE, PIECE, 1]


def asked(**changes: Any) -> dict[str, Any]:
    return {"payer": PAYER.hex(), "payee": "0x" + PAYEE.hex(), "signer": SESSION.hex(), **changes}


async def test_the_node_that_pays_sees_the_lane_s_whole_past_and_its_transactions(autojump_clock: object):
    archive, chain = await an_archive(MemoryJournal())
    sent = await chain.view(PAYER).deposit(PAYEE, SESSION, 700)
    hashes = ["0x" + sent.hash.hex(), "0x" + bytes(32).hex()]
    view = msgspec.convert(await archive.on_chain(asked(transactions=hashes)), ChainView)
    assert (view.chain_id, view.deposited, view.paid, view.refunded, view.held) == (31337, 700, 0, 0, 700)
    assert view.transactions == {hashes[0]: sent.block}


async def test_the_node_that_is_paid_sees_the_lane_as_it_is(autojump_clock: object):
    archive, chain = await an_archive(MemoryJournal(), PAYEE)
    chain.mint(PAYER, 700)
    chain.give_gas(PAYER)
    await chain.view(PAYER).deposit(PAYEE, SESSION, 700)
    view = msgspec.convert(await archive.on_chain(asked()), ChainView)
    assert (view.held, view.deposited, view.refunded) == (700, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"payer": None},
        {"payer": "0x12"},
        {"signer": "zz" * 20},
        {"transactions": 5},
        {"transactions": ["0x12"]},
        {"transactions": [None]},
        {"transactions": ["0x" + "00" * 32] * 65},
    ],
)
async def test_what_is_no_lane_or_transaction_is_refused(changes: dict[str, Any]):
    archive, _ = await an_archive(MemoryJournal())
    with pytest.raises(InvalidRequest):
        await archive.on_chain(asked(**changes))
