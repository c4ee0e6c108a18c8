"""What a provider remembers of its leases: over restarts, old bids awarded again, and journals that were lost."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from ledger.ports import OLD_COPY, NewEntry
from ledger.statement import with_account_signature
from market.inventory import FENCING_LUCK
from market.lease import CancelRequested, ContainerExited, ContainerStarted, LaneFunded, Stage
from market.records import ExitReason, Lease
from market.signing import verify
from market.statements import find_equivocation, read_grants, read_receipt
from market.usage import write_report
from tests.fakes.desks import a_seller
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import NOW, PAYEE_KEY, SELLER, a_signer


async def test_an_award_of_a_lease_that_is_over_costs_no_replay_of_it(monkeypatch: pytest.MonkeyPatch):
    async with a_seller() as seller:
        award = seller.award()
        first = await seller.answer(award)
        (board,) = seller.desk.boards.values()
        await board.record(CancelRequested(at=NOW))
        await trio.testing.wait_all_tasks_blocked()
        assert seller.desk.boards == {}
        monkeypatch.delattr("node.provider.load_board")
        assert await seller.answer(award) == first


async def test_an_old_bid_awarded_again_makes_no_receipts_that_contradict_those_a_lost_journal_forgot():
    stated = []
    for run in range(2):
        async with a_seller() as seller:  # the second time with the keys of the first, and an empty journal
            seller.clock.now += run
            lease = verify((await seller.answer(seller.award(bid_id=b"1" * 16)))["lease"], Lease)
            board = seller.desk.boards[lease.record.lease_id]
            written = write_report(
                board.state,
                provider=SELLER.key,
                lease_id=board.lease_id,
                chain=board.chain,
                now=seller.clock.now,
                fencing=lease.record.fencing,
            )
            report = SELLER.sign(with_account_signature(written, board.domain, PAYEE_KEY.sign))
            stated += [read_receipt(report), *read_grants(lease)]
    assert len({one.body for one in stated}) == len(stated) == 4
    assert find_equivocation(stated) is None


async def test_fencing_grows_over_leases_that_come_and_go():
    async with a_seller(slots=1) as seller:
        fences = []
        for number in range(3):
            lease = verify((await seller.answer(seller.award(bid_id=bytes([number]) * 16)))["lease"], Lease).record
            fences.append(lease.fencing)
            board = seller.desk.boards[lease.lease_id]
            await board.record(LaneFunded(at=NOW, amount=1))
            seller.desk.free_slots_of(board)
        assert {fence // FENCING_LUCK for fence in fences} == {NOW}
        assert fences == sorted(set(fences)), "also within a millisecond, whatever is drawn"


async def test_two_copies_of_a_node_at_once_do_not_sign_one_number_twice():
    granted = []
    for copy in range(2):
        async with a_seller(rng=random.Random(copy)) as seller:
            award = seller.award(bid_id=bytes([copy]) * 16)
            granted.append(verify((await seller.answer(award))["lease"], Lease))
    one, other = granted
    assert one.record.slots == other.record.slots
    assert one.record.granted_at == other.record.granted_at == NOW
    assert find_equivocation([*read_grants(one), *read_grants(other)]) is None


async def test_numbers_of_an_older_journal_and_of_a_clock_that_went_back_are_outgrown():
    journal = MemoryJournal()
    async with a_seller(journal) as seller:
        first = verify((await seller.answer(seller.award(bid_id=b"1" * 16)))["lease"], Lease).record
    async with a_seller(journal) as seller:
        seller.clock.now -= 1
        again = verify((await seller.answer(seller.award(bid_id=b"2" * 16)))["lease"], Lease).record
        assert again.fencing == first.fencing + 1
    assert first.fencing > NOW, "older nodes began at the plain clock"


async def test_a_restart_finds_leases_slots_and_fencing_again():
    journal = MemoryJournal()
    async with a_seller(journal) as seller:
        first = await seller.answer(seller.award(bid_id=b"1" * 16))
        second = verify((await seller.answer(seller.award(bid_id=b"2" * 16)))["lease"], Lease).record
        await seller.desk.boards[second.lease_id].record(CancelRequested(at=NOW))
    async with a_seller(journal) as seller:
        assert len(seller.desk.boards) == 1
        assert seller.machine.inventory.held == {0: next(iter(seller.desk.boards))}
        assert await seller.answer(seller.award(bid_id=b"1" * 16)) == first
        # A lease that is over is not granted again either, and its number still counts.
        again = verify((await seller.answer(seller.award(bid_id=b"2" * 16)))["lease"], Lease).record
        assert again == second
        third = verify((await seller.answer(seller.award(bid_id=b"3" * 16)))["lease"], Lease).record
        assert (third.slots, third.fencing > second.fencing) == ((1,), True)


async def test_a_lease_whose_container_has_stopped_gives_its_slots_back_at_a_restart():
    journal = MemoryJournal()
    async with a_seller(journal) as seller:
        lease = verify((await seller.answer(seller.award()))["lease"], Lease).record
        board = seller.desk.boards[lease.lease_id]
        await board.record(LaneFunded(at=NOW, amount=1))
        await board.record(ContainerStarted(at=NOW, started_at=NOW))
        await board.record(ContainerExited(at=NOW, reason=ExitReason.OK, exit_code=0, finished_at=NOW))
        assert board.state.stage is Stage.ENDING
    async with a_seller(journal) as seller:
        assert len(seller.desk.boards) == 1
        assert seller.machine.inventory.free_slots == 2


@pytest.mark.parametrize("running", [False, True])
async def test_no_number_is_signed_twice_for_a_lease_of_an_old_copy_of_the_journal(running: bool):
    journal = MemoryJournal()
    async with a_seller(journal) as seller:
        old = verify((await seller.answer(seller.award(bid_id=b"1" * 16)))["lease"], Lease).record
        if running:
            await seller.desk.boards[old.lease_id].record(LaneFunded(at=NOW, amount=1))
            await seller.desk.boards[old.lease_id].record(ContainerStarted(at=NOW, started_at=NOW))
    await journal.append([NewEntry(stream=OLD_COPY, kind="no_end_mark", at_ms=NOW, body=b"")])
    async with a_seller(journal) as seller:
        await trio.testing.wait_all_tasks_blocked()
        ((duty, board),) = seller.duties
        assert (duty, board.lease_id) == ("collect" if running else "release_slots", old.lease_id)
        asked = seller.award(a_signer("another"), bid_id=b"2" * 16)
        later = verify((await seller.answer(asked))["lease"], Lease).record
    async with a_seller(journal) as seller:
        assert seller.desk.boards[later.lease_id].state.stage is Stage.GRANTED, "what was signed since goes on"
