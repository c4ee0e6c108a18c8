"""A lane's sums from the chain: two sources that must agree."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.ports import LaneKey
from node.lane_history import LaneHistory, sum_events
from node.lane_log import LaneEvent, LaneLog
from tests.fakes.memory_journal import MemoryJournal
from tests.unit.node.test_lane_log import LANE, LongChain, an_event


def event(kind: str, block: int, units: int = 0, lane: LaneKey = LANE) -> LaneEvent:
    return LaneEvent(lane=lane, kind=kind, units=units, transaction=bytes([block]) * 32, block=block, index=0)


STORY = [
    event("Deposited", 1, 100),
    event("Deposited", 3, 50),
    event("ExitStarted", 4),
    event("LaneClosed", 5, 100),
    event("Released", 6, 20),
]


def test_what_went_in_is_what_came_out_and_what_is_held() -> None:
    totals = sum_events(STORY, balance=30, claimed=30)
    assert (totals.deposited, totals.paid, totals.refunded, totals.held) == (150, 30, 120, 0)
    assert totals.adds_up
    assert [one.purpose for one in totals.transactions] == ["deposit", "deposit", "exit", "close", "release"]
    assert totals.last_transaction == bytes([6]) * 32


def test_a_unit_that_is_missing_is_noticed() -> None:
    assert not sum_events(STORY, balance=31, claimed=30).adds_up
    assert not sum_events(STORY[1:], balance=30, claimed=30).adds_up


def test_a_lane_without_a_past_has_no_transactions() -> None:
    totals = sum_events([], balance=0, claimed=0)
    assert (totals.adds_up, totals.last_transaction, totals.transactions) == (True, b"", ())


async def test_kept_events_that_do_not_agree_with_the_chain_are_read_anew() -> None:
    """A reorg deeper than what is waited for: the deposit is in another block now, and was twice as much."""
    chain: Any = LongChain(1_000, [an_event("Deposited", block=10, amount=30)])
    history = LaneHistory(chain, LaneLog(chain, MemoryJournal(), start_block=0, is_ours=lambda _lane: True))
    assert (await history.totals(LANE)).adds_up is True
    chain.all, chain.balance = [an_event("Deposited", block=12, amount=60)], 60
    totals = await history.totals(LANE)
    assert (totals.deposited, totals.held, totals.adds_up) == (60, 30, True)


async def test_a_lie_that_stays_is_shown_and_not_asked_for_for_ever() -> None:
    chain: Any = LongChain(1_000, [an_event("Deposited", block=10, amount=31)])
    totals = await LaneHistory(
        chain, LaneLog(chain, MemoryJournal(), start_block=0, is_ours=lambda _lane: True)
    ).totals(LANE)
    assert not totals.adds_up
    assert len(chain.asked) <= 4


@pytest.mark.parametrize("kind", ["Slashed", "DelaySet"])
def test_events_that_move_no_money_of_a_lane_count_for_nothing(kind: str) -> None:
    assert sum_events([event(kind, 1, 100)], balance=0, claimed=0).adds_up
