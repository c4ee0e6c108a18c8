"""The books of all lanes: durable before believed, one read per lane at a restart, rebuilt from facts alone."""

from __future__ import annotations

import pytest
import trio

from ledger.lane_facts import AmountVouched, ChainSeen, LeaseClosed, LeaseCovered, LeaseOpened
from ledger.lane_journal import LaneJournal, replay
from ledger.ports import LaneKey, NewEntry
from ledger.voucher import Domain
from market.errors import BrokenInvariant, PeerFault, Unavailable
from tests.fakes.memory_journal import MemoryJournal

LANE = LaneKey(b"r" * 20, b"e" * 20, b"s" * 20)
OTHER = LaneKey(b"r" * 20, b"f" * 20, b"s" * 20)
HERE, ELSEWHERE = Domain(31337, b"x" * 20), Domain(1, b"x" * 20)
LEASE = b"l" * 16
BEGUN = (
    ChainSeen(balance=100, claimed=0, exit_at=0, epoch=0, at_ms=5),
    LeaseOpened(lease_id=LEASE, cap=50),
    LeaseCovered(lease_id=LEASE, cover=50),
)


def vouched(amount: int) -> AmountVouched:
    return AmountVouched(lease_id=LEASE, amount=amount, cumulative=amount, signature=b"v" * 64)


def lanes_of(journal: MemoryJournal, *, side: str = "paid", domain: Domain = HERE) -> LaneJournal:
    return LaneJournal(journal, side, domain, lambda: 7)


async def test_a_restart_finds_the_same_books_leases_and_lanes() -> None:
    journal = MemoryJournal()
    lanes = lanes_of(journal)
    await lanes.record(LANE, *BEGUN, vouched(20))
    await lanes.record(OTHER, ChainSeen(balance=1, claimed=0, exit_at=0, epoch=0, at_ms=5))

    again = lanes_of(journal.crash())
    assert not again.knows(LANE)
    await again.load()
    assert again.lanes() == [LANE, OTHER]
    assert again.books(LANE) == lanes.books(LANE)
    assert (again.lane_of(LEASE), again.lane_of(b"?" * 16)) == (LANE, None)


async def test_sides_and_escrows_do_not_see_each_other() -> None:
    journal = MemoryJournal()
    await lanes_of(journal).record(LANE, *BEGUN)

    for other in (lanes_of(journal, side="paying"), lanes_of(journal, domain=ELSEWHERE)):
        await other.load()
        assert other.lanes() == []


async def test_a_lease_that_is_over_is_remembered_and_gone_from_the_open_ones() -> None:
    journal = MemoryJournal()
    lanes = lanes_of(journal)
    await lanes.record(LANE, *BEGUN, vouched(20), LeaseClosed(lease_id=LEASE))

    again = lanes_of(journal.crash())
    await again.load()
    ended = await again.closed_lease(LEASE)
    assert ended is not None
    assert (ended.lane, ended.cap, ended.amount) == (LANE, 50, 20)
    assert again.lane_of(LEASE) is None
    assert await again.closed_lease(b"?" * 16) is None


async def test_an_impossible_fact_writes_nothing_not_even_its_companions() -> None:
    journal = MemoryJournal()
    lanes = lanes_of(journal)
    with pytest.raises(BrokenInvariant):
        await lanes.record(LANE, *BEGUN, vouched(51))

    assert await journal.read_all() == []
    assert not lanes.knows(LANE)


async def test_what_could_not_be_written_is_not_believed() -> None:
    journal = MemoryJournal()
    lanes = lanes_of(journal)
    await lanes.record(LANE, *BEGUN)
    journal.full = True
    with pytest.raises(Unavailable):
        await lanes.record(LANE, vouched(20))
    with trio.CancelScope() as scope:
        scope.cancel()
        await lanes.record(LANE, vouched(20), urgent=True)

    assert lanes.books(LANE).signed == 0
    await lanes.record(LANE, vouched(20), urgent=True)
    assert lanes.books(LANE).signed == 20


async def test_the_facts_alone_give_the_books() -> None:
    journal = MemoryJournal()
    lanes = lanes_of(journal)
    await lanes.record(LANE, *BEGUN)
    await lanes.record(OTHER, *BEGUN[:1])
    await lanes.record(LANE, vouched(20))

    streams = await journal.streams("paid/")
    assert [await replay(journal, stream) for stream in streams] == [lanes.books(LANE), lanes.books(OTHER)]


async def test_a_stream_that_is_not_a_lanes_is_not_replayed() -> None:
    journal = MemoryJournal()
    lanes = lanes_of(journal)
    await lanes.record(LANE, *BEGUN)
    [stream] = await journal.streams("paid/")
    [opened, *_] = await journal.read(stream)

    async def append(stream: str, kind: str, body: bytes) -> None:
        await journal.append([NewEntry(stream=stream, kind=kind, at_ms=0, body=body)])

    await append("no/opening", "LeaseClosed", (b"\x81\xa8lease_id\xc4\x01a"))
    await append("no/such fact", "Invented", opened.body)
    await append("no/body", "LaneOpened", b"\xff")
    for name, error in (("opening", BrokenInvariant), ("such fact", BrokenInvariant), ("body", PeerFault)):
        with pytest.raises(error):
            await replay(journal, f"no/{name}")
    with pytest.raises(BrokenInvariant):
        await replay(journal, "absent")
