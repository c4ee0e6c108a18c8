"""A lane's sums from the chain: two sources that must agree, and only this lane's events."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.ports import ChainHead, LaneKey, LaneOnChain, LedgerEvent
from market.errors import BrokenInvariant
from node.lane_history import LaneHistory, sum_events

LANE = LaneKey(payer=b"a" * 20, payee=b"b" * 20, signer=b"c" * 20)


def an_event(kind: str, *, lane: LaneKey = LANE, block: int = 1, **arguments: Any) -> LedgerEvent:
    names = {"payer": lane.payer, "provider": lane.payee, "signer": lane.signer}
    transaction = bytes([block % 256]) * 32
    return LedgerEvent(kind=kind, block=block, index=0, transaction=transaction, arguments=names | arguments)


STORY = [
    an_event("Deposited", block=1, amount=100),
    an_event("Redeemed", block=2, amount=30),
    an_event("Deposited", block=3, amount=50),
    an_event("ExitStarted", block=4, at=9),
    an_event("LaneClosed", block=5, toPayer=120, toProvider=0),
]


def test_what_went_in_is_what_came_out_and_what_is_held():
    totals = sum_events(STORY, LANE, balance=30, claimed=30)
    assert (totals.deposited, totals.paid, totals.refunded, totals.held) == (150, 30, 120, 0)
    assert totals.adds_up
    assert [one.purpose for one in totals.transactions] == ["deposit", "deposit", "exit", "close"]
    assert totals.last_transaction == bytes([5]) * 32


def test_a_unit_that_is_missing_is_noticed():
    assert not sum_events(STORY, LANE, balance=31, claimed=30).adds_up
    assert not sum_events(STORY[1:], LANE, balance=30, claimed=30).adds_up


@pytest.mark.parametrize("part", ["payer", "payee", "signer"])
def test_the_events_of_other_lanes_do_not_count(part: str):
    parts = {"payer": LANE.payer, "payee": LANE.payee, "signer": LANE.signer, part: b"x" * 20}
    strange = [an_event("Deposited", lane=LaneKey(**parts), amount=1_000)]
    assert sum_events(STORY + strange, LANE, balance=30, claimed=30).adds_up


def test_a_lane_without_a_past_has_no_transactions():
    totals = sum_events([], LANE, balance=0, claimed=0)
    assert (totals.adds_up, totals.last_transaction, totals.transactions) == (True, b"", ())


def test_an_event_without_its_amount_is_a_broken_adapter():
    with pytest.raises(BrokenInvariant):
        sum_events([an_event("Deposited", amount="100")], LANE, balance=0, claimed=0)


class LongChain:
    """A chain of many blocks that refuses to be asked for too many at once, as real endpoints do."""

    def __init__(self, height: int, events: list[LedgerEvent]) -> None:
        self.height, self.all, self.asked = height, events, []

    async def head(self) -> ChainHead:
        return ChainHead(number=self.height, hash=bytes(32), timestamp=0)

    async def lane(self, _key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        return LaneOnChain(balance=30, claimed=30)

    async def events(self, first: int, last: int) -> list[LedgerEvent]:
        self.asked.append((first, last))
        assert last - first < 5_000
        return [event for event in self.all if first <= event.block <= last]


async def test_a_long_past_is_read_in_spans_without_gap_or_overlap():
    events = [an_event("Deposited", block=17, amount=100), an_event("Deposited", block=12_017, amount=50)]
    events += [an_event("LaneClosed", block=12_017, toPayer=120)]
    chain = LongChain(12_017, events)
    totals = await LaneHistory(chain, start_block=17).totals(LANE)  # type: ignore[arg-type]
    assert chain.asked == [(17, 5_016), (5_017, 10_016), (10_017, 12_017)]
    assert totals.adds_up


async def test_a_chain_that_is_younger_than_our_start_has_no_past():
    chain = LongChain(3, [])
    totals = await LaneHistory(chain, start_block=17).totals(LANE)  # type: ignore[arg-type]
    assert (chain.asked, totals.transactions) == ([], ())
