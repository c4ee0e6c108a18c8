"""Won auctions become leases on the disk together with what the jobs' owners see of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from market.duties import Role
from market.errors import Unavailable
from node.active_job import Job
from node.auction import Outcome
from node.job_journal import LEASED, PREFIX
from node.job_leases import open_leases
from node.lease_board import load_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.sales import PURCHASE, a_sale
from tests.fakes.samples import NOW, SALT
from tests.unit.node.test_active_job import a_job


async def won(count: int) -> list[tuple[Job, Outcome]]:
    """Jobs that each bought from a seller of its own."""
    found = []
    async with a_sale(count, free_slots=1, total_slots=1) as sale:
        for number in range(count):
            job = a_job()
            job.job_id = f"{number:032x}"
            found.append((job, await sale.buy()))
    return found


async def test_every_job_gets_its_own_lease_and_event(autojump_clock: MockClock):
    journal, pairs = MemoryJournal(), await won(3)
    boards = await open_leases(journal, pairs, NOW)
    journal = journal.crash()
    assert len({board.provider for board in boards}) == 3
    for (job, outcome), board in zip(pairs, boards, strict=True):
        assert outcome.lease is not None
        assert (board.job_id, board.role, board.lease.raw) == (job.job_id, Role.REQUESTER, outcome.lease.raw)
        (entry,) = await journal.read(PREFIX + job.job_id)
        told: dict[str, Any] = msgspec.json.decode(entry.body)
        assert (entry.kind, told["lease"], told["provider"]) == (LEASED, board.lease_id.hex(), board.provider.hex())
        again = await load_board(journal, board.stream)
        assert (again.spec, again.state.price, SALT) == (job.spec, board.award.record.price, PURCHASE.salt)


async def test_on_a_full_disk_nothing_begins(autojump_clock: MockClock):
    journal, pairs = MemoryJournal(), await won(2)
    journal.full = True
    with pytest.raises(Unavailable):
        await open_leases(journal, pairs, NOW)
    assert await journal.streams("") == []
