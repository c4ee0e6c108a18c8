"""Bids of one moment travel together, in messages that others accept."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from market.records import Bid, Requirements
from market.signing import Verified
from node import wire
from node.admission import VerifiedRecords, judge_batch
from node.bid_poster import PAUSE_S, TICK_S, BidPoster, batches
from node.ports import Verdict
from tests.fakes.desks import RecordingNetwork
from tests.fakes.sales import a_rival_bid
from tests.fakes.samples import NOW


def bids(count: int, **changes: object) -> list[Verified[Bid]]:
    return [a_rival_bid(number, **changes) for number in range(count)]


async def published(*moments: tuple[float, list[Verified[Bid]]]) -> list[bytes]:
    """The messages of a node that posts these bids, each lot after a pause."""
    network = RecordingNetwork()
    poster = BidPoster(network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(poster.post_forever)
        for pause, lot in moments:
            await trio.sleep(pause)
            for bid in lot:
                poster.post(bid)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert {topic for topic, _ in network.published} <= {wire.TOPIC_BIDS}
    return [message for _, message in network.published]


async def test_bids_of_one_moment_travel_together(autojump_clock: MockClock):
    messages = await published((0, bids(3)), (TICK_S / 2, bids(5)[3:]))
    assert len(messages) == 1
    assert all(bid.raw in messages[0] for bid in bids(5))


async def test_a_later_bid_travels_later(autojump_clock: MockClock):
    messages = await published((0, bids(1)), (2 * PAUSE_S, bids(2)[1:]))
    assert len(messages) == 2


async def test_who_keeps_bidding_speaks_now_and_then(autojump_clock: MockClock):
    messages = await published(*[(PAUSE_S / 10, bids(1)) for _ in range(20)])
    assert 3 <= len(messages) <= 4, "20 bids within half a second"


async def test_many_bids_are_cut_into_messages_that_others_accept(autojump_clock: MockClock):
    long = Requirements(regions=tuple(f"{number:060}" for number in range(64)), gpus=("x" * 64,) * 32)
    for lot in (bids(20), bids(20, requirements=long)):
        heard: list[bytes] = []
        for message in await published((0, lot)):
            judged = judge_batch(message, VerifiedRecords(Bid), NOW)
            assert judged.verdict is Verdict.ACCEPT
            heard += [bid.raw for bid in judged.records]
        assert heard == [bid.raw for bid in lot]


async def test_a_flood_of_our_own_is_cut_off(autojump_clock: MockClock):
    messages = await published((0, [bids(1)[0]] * 5_000))
    assert len(messages) == 1024 // wire.MAX_BATCH_RECORDS


def test_nothing_makes_no_message():
    assert list(batches([])) == []
