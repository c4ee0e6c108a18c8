"""The desk that shows live bids to whoever asks."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from market import codec
from market.records import Bid
from market.signing import Verified, verify
from node import public_desk, wire
from node.public_desk import BIDS_RATE, BIDS_TOTAL, PublicDesk
from tests.fakes.desks import RecordingNetwork, SetClock
from tests.fakes.samples import BUYER, NOW, SELLER, a_bid


def some_bids(count: int) -> list[Verified[Bid]]:
    return [BUYER.sign(a_bid(bid_id=bytes([number]) * 16, expires_at=NOW + 1_000 * number)) for number in range(count)]


def a_desk(bids: list[Verified[Bid]]) -> tuple[PublicDesk, RecordingNetwork]:
    network = RecordingNetwork()
    desk = PublicDesk(network, SetClock(), lambda: bids)
    desk.register()
    return desk, network


async def shown(network: RecordingNetwork) -> list[int]:
    raws = await network.ask(SELLER.key, wire.PROTOCOL_BIDS, b"")
    return [verify(raw, Bid).record.bid_id[0] for raw in raws]


async def test_live_bids_are_shown_newest_first() -> None:
    desk, network = a_desk(some_bids(4))
    assert await shown(network) == [3, 2, 1]
    assert [bid.record.bid_id[0] for bid in desk.live()] == [3, 2, 1]


async def test_an_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    _, network = a_desk(some_bids(20))
    monkeypatch.setattr(public_desk, "MAX_BIDS", 5)
    assert await shown(network) == [19, 18, 17, 16, 15]
    monkeypatch.setattr(public_desk, "MAX_BIDS_ANSWER", 1_200)
    assert 1 <= len(await shown(network)) < 5
    assert len(await network.handlers[wire.PROTOCOL_BIDS](SELLER.key, b"")) <= 1_200


async def test_who_asks_all_the_time_is_shown_nothing(autojump_clock: MockClock) -> None:
    _, network = a_desk(some_bids(2))
    answers = [codec.pack(await shown(network)) for _ in range(int(BIDS_RATE.burst) + 1)]
    assert answers[-2:] == [codec.pack([1]), codec.pack([])]
    await trio.sleep(1 / BIDS_RATE.per_second)
    assert await shown(network) == [1]


async def test_many_new_identities_are_shown_no_more_than_one_crowd(autojump_clock: MockClock) -> None:
    _, network = a_desk(some_bids(2))
    shown_to = 0
    for number in range(int(BIDS_TOTAL.burst) + 5):
        shown_to += bool(await network.ask(number.to_bytes(32, "big"), wire.PROTOCOL_BIDS, b""))
    assert shown_to == BIDS_TOTAL.burst
