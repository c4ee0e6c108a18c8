"""The escrow's log is read once: in spans, without gap or overlap, through restarts, crashes and reorgs."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.ports import ChainHead, LaneKey, LaneOnChain, LedgerEvent
from market.errors import BrokenInvariant
from node.lane_log import DEPTH, LaneLog
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.mortal_journal import MortalJournal

LANE = LaneKey(payer=b"a" * 20, payee=b"b" * 20, signer=b"c" * 20)


def an_event(kind: str, *, lane: LaneKey = LANE, block: int = 1, **arguments: Any) -> LedgerEvent:
    names = {"payer": lane.payer, "provider": lane.payee, "signer": lane.signer}
    transaction = bytes([block % 256]) * 32
    return LedgerEvent(kind=kind, block=block, index=0, transaction=transaction, arguments=names | arguments)


class LongChain:
    """A chain of many blocks that refuses to be asked for too many at once, as real endpoints do."""

    chain_id, escrow, account = 7, b"e" * 20, LANE.payer

    def __init__(self, height: int, events: list[LedgerEvent]) -> None:
        self.height, self.all, self.balance = height, events, 30
        self.asked: list[tuple[int, int]] = []

    async def head(self) -> ChainHead:
        return ChainHead(number=self.height, hash=bytes(32), timestamp=0)

    async def lane(self, _key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        return LaneOnChain(balance=self.balance, claimed=self.balance - 30 if self.balance > 30 else 0)

    async def events(self, first: int, last: int) -> list[LedgerEvent]:
        self.asked.append((first, last))
        assert last - first < 5_000
        return [event for event in self.all if first <= event.block <= last]


def log_of(chain: Any, journal: MemoryJournal, start_block: int = 17) -> LaneLog:
    return LaneLog(chain, journal, start_block=start_block, is_ours=lambda lane: lane.signer == LANE.signer)


async def units(log: LaneLog) -> list[int]:
    return [event.units for event in await log.events(LANE)]


async def test_a_long_past_is_read_in_spans_without_gap_or_overlap_and_only_once() -> None:
    events = [an_event("Deposited", block=17, amount=100), an_event("Deposited", block=12_017, amount=50)]
    chain, journal = LongChain(12_017, [*events, an_event("LaneClosed", block=12_017, toPayer=120)]), MemoryJournal()
    assert await units(log_of(chain, journal)) == [100, 50, 120]
    assert chain.asked == [(17, 5_016), (5_017, 10_016), (10_017, 12_017)]
    chain.asked.clear()
    chain.height += 10
    assert await units(log_of(chain, journal)) == [100, 50, 120]
    assert chain.asked == [(12_018 - DEPTH, 12_027)]


async def test_a_reorg_of_the_newest_blocks_leaves_no_trace() -> None:
    chain, journal = LongChain(1_000, [an_event("Deposited", block=1_001 - DEPTH, amount=5)]), MemoryJournal()
    log = log_of(chain, journal)
    assert await units(log) == [5]
    chain.all = [an_event("Deposited", block=1_002 - DEPTH, amount=6)]
    assert await units(log) == [6]
    chain.height += DEPTH
    assert await units(log) == [6]
    assert await units(log_of(chain, journal)) == [6]


async def test_only_lanes_that_we_pay_from_are_kept() -> None:
    others = [LaneKey(payer=b"x" * 20, payee=LANE.payee, signer=LANE.signer)]
    others += [LaneKey(payer=LANE.payer, payee=b"x" * 20, signer=LANE.signer)]
    events = [an_event("Deposited", lane=lane, block=20 + n, amount=9) for n, lane in enumerate(others)]
    events += [an_event("Deposited", block=30, amount="many")]
    events += [LedgerEvent(kind="Redeemed", block=31, index=0, transaction=b"", arguments={"provider": LANE.payee})]
    chain, journal = LongChain(1_000, events), MemoryJournal()
    log = log_of(chain, journal)
    assert await units(log) == [0]
    assert [event.units for event in await log.events(others[1])] == [9]
    assert await log.events(others[0]) == []


async def test_lanes_that_strangers_open_in_our_name_take_no_room() -> None:
    """A deposit of one unit names any payer: for the price of gas they would grow what we keep for ever."""
    strangers = [LaneKey(payer=LANE.payer, payee=LANE.payee, signer=bytes([n]) * 20) for n in range(1, 9)]
    events = [an_event("Deposited", lane=lane, block=20 + n, amount=1) for n, lane in enumerate(strangers)]
    chain, journal = LongChain(1_000, [*events, an_event("Deposited", block=40, amount=9)]), MemoryJournal()
    log = log_of(chain, journal)
    assert await units(log) == [9]
    assert len(await journal.read_all()) == 1
    assert await log.events(strangers[0]) == []


async def test_what_an_older_journal_keeps_of_strangers_is_not_taken_up() -> None:
    stranger = LaneKey(payer=LANE.payer, payee=LANE.payee, signer=b"s" * 20)
    chain, journal = LongChain(1_000, [an_event("Deposited", lane=stranger, block=20, amount=1)]), MemoryJournal()
    before = LaneLog(chain, journal, start_block=17, is_ours=lambda _lane: True)  # type: ignore[arg-type]
    assert len(await before.events(stranger)) == 1
    assert await log_of(chain, journal).events(stranger) == []


async def test_a_chain_that_is_younger_than_our_start_has_no_past() -> None:
    chain = LongChain(3, [])
    assert await units(log_of(chain, MemoryJournal())) == []
    assert chain.asked == []


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("writes", range(3))
async def test_a_crash_at_any_write_neither_loses_nor_doubles_an_event(writes: int, kept: bool) -> None:
    blocks = [20, 5_100, 9_000, 12_000]
    chain = LongChain(12_017, [an_event("Deposited", block=block, amount=block) for block in blocks])
    journal = MortalJournal(MemoryJournal(), writes, kept=kept)
    with pytest.raises(BrokenInvariant):
        await log_of(chain, journal).events(LANE)
    assert await units(log_of(chain, journal.crash())) == blocks


async def test_what_is_forgotten_is_read_anew_and_stays_forgotten() -> None:
    chain, journal = LongChain(1_000, [an_event("Deposited", block=20, amount=5)]), MemoryJournal()
    log = log_of(chain, journal)
    assert await units(log) == [5]
    chain.all = [an_event("Deposited", block=21, amount=7)]
    await log.forget()
    assert await units(log) == [7]
    assert await units(log_of(chain, journal)) == [7]
