"""A job's bill adds up by itself, on a lane that serves one job or many."""

from __future__ import annotations

import pytest

from ledger.voucher import Domain, encode_voucher, sign_voucher
from market.duties import Role
from market.lease import ContainerStarted, LaneFunded
from market.usage import write_report
from node.lane_history import LaneTotals, LaneTransaction
from node.lane_share import describe_share, share_of, transactions_of
from node.lease_board import LeaseBoard, PaidReport, payment_fact
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import CHAIN_ID, ESCROW, NOW, SELLER, SESSION_KEY

BEFORE = 700
"""What earlier jobs had drawn from the same lane."""


async def paid_board(funding: bytes = b"") -> LeaseBoard:
    board = await a_board(MemoryJournal(), Role.REQUESTER)
    await board.record(LaneFunded(at=NOW, amount=board.state.cap, transaction=funding))
    await board.record(ContainerStarted(at=NOW, started_at=NOW))
    written = write_report(
        board.state, provider=SELLER.key, lease_id=board.lease_id, chain=board.chain, now=NOW + 10_000
    )
    report = SELLER.sign(written)
    voucher = sign_voucher(SESSION_KEY, Domain(CHAIN_ID, ESCROW), board.lane, BEFORE + written.amount)
    paid = PaidReport(report=report.raw, row=encode_voucher(voucher))
    assert await board.record(payment_fact(written, NOW + 10_000), paid=paid)
    return board


async def test_a_job_pays_its_own_part_of_a_shared_lane():
    board = await paid_board()
    vouched = board.state.paid
    assert vouched > 0
    share = share_of(board, BEFORE + vouched)
    assert (share.drawn, share.returned, share.reclaimed) == (vouched, board.state.cap - vouched, False)


@pytest.mark.parametrize("claimed", [0, BEFORE - 1, BEFORE])
async def test_what_was_vouched_and_never_drawn_is_not_called_paid(claimed: int):
    share = share_of(await paid_board(), claimed)
    assert share.drawn == 0
    assert share.reclaimed
    assert share.returned == share.set_aside


async def test_a_bill_adds_up_in_every_case():
    board = await paid_board()
    for claimed in range(BEFORE - 50, BEFORE + board.state.paid + 50, 7):
        bill = describe_share(share_of(board, claimed), ())
        assert bill["deposited"]["units"] == bill["paid"]["units"] + bill["refunded"]["units"]


async def test_only_its_own_transactions_are_on_the_bill():
    hashes = [bytes([n]) * 32 for n in range(4)]
    all_of_them = tuple(LaneTransaction(purpose="deposit", hash=one, block=n) for n, one in enumerate(hashes))
    totals = LaneTotals(deposited=0, paid=0, refunded=0, held=0, transactions=all_of_them)
    assert [one.hash for one in transactions_of(await paid_board(hashes[2]), totals)] == hashes[2:]
    assert [one.hash for one in transactions_of(await paid_board(), totals)] == hashes[3:]
