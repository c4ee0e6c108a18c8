"""A provider's towers get every newest voucher, the most valuable first, as soon as they can be reached."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from market import codec
from node.hand_over import AGAIN_S, PACE_S, HandOver
from node.ports import PeerUnreachable
from tests.fakes.watch_world import TOWER, WatchWorld

A = b"a" * 16


@pytest.fixture
async def world() -> WatchWorld:
    world = WatchWorld()
    await world.open_tower()
    await world.funded(A, 1_000)
    return world


async def test_what_is_earned_is_handed_over_once(autojump_clock: MockClock, world: WatchWorld) -> None:
    await world.pay(A, 10)
    for _ in range(3):
        await world.hand_over.hand_over(TOWER)
    assert len(world.line.asked) == 1
    await world.pay(A, 30)
    assert world.hand_over.view()[0].behind == 20
    await world.hand_over.hand_over(TOWER)
    assert world.book.vouchers[world.lane].cumulative == 30
    assert world.hand_over.view()[0].behind == 0


async def test_a_tower_that_was_away_gets_all_it_missed(autojump_clock: MockClock, world: WatchWorld) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.hand_over.hand_over_forever)
        world.line.cut = True
        for amount in (10, 20, 30):
            await world.pay(A, amount)
            await trio.sleep(PACE_S)
        assert "not reached" in world.hand_over.view()[0].trouble
        world.line.cut = False
        await trio.sleep(60)
        assert world.book.vouchers[world.lane].cumulative == 30
        assert world.hand_over.view()[0].trouble == ""
        nursery.cancel_scope.cancel()


async def test_after_a_restart_everything_is_handed_over_again(autojump_clock: MockClock, world: WatchWorld) -> None:
    await world.pay(A, 10)
    await world.hand_over.hand_over(TOWER)
    await world.crash_payee()
    world.hand_over = HandOver(world.payee, world.line, {TOWER: ()}, Random(1))  # type: ignore[arg-type]
    await world.hand_over.hand_over(TOWER)
    assert len(world.line.asked) == 2


async def test_a_lane_that_gave_way_at_the_tower_is_handed_over_again_and_told_when_there_is_no_room(
    autojump_clock: MockClock, world: WatchWorld
) -> None:
    await world.pay(A, 10)
    await world.hand_over.hand_over(TOWER)
    await world.book.drop(world.lane)
    await world.hand_over.hand_over(TOWER)
    assert not world.book.vouchers, "not every few seconds"
    await trio.sleep(AGAIN_S)
    await world.hand_over.hand_over(TOWER)
    assert world.lane in world.book.vouchers
    await world.hand_over.hand_over(TOWER)
    assert len(world.line.asked) == 2
    await trio.sleep(AGAIN_S)
    world.line.answer = codec.pack({"held": 0})
    await world.hand_over.hand_over(TOWER)
    assert world.hand_over.view()[0].behind == 10


async def test_what_was_redeemed_is_not_handed_over(autojump_clock: MockClock, world: WatchWorld) -> None:
    await world.pay(A, 10)
    await world.payee.redeem()
    await world.hand_over.hand_over(TOWER)
    assert world.line.asked == []


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ({"held": 0}, "no room for 1"),
        ({"refused": "not_a_client"}, "not_a_client"),
        ({"held": "yes"}, "does not speak"),
        ([], "does not speak"),
    ],
)
async def test_what_a_tower_did_not_take_is_still_ours_to_hand_over(
    autojump_clock: MockClock, world: WatchWorld, answer: object, trouble: str
) -> None:
    await world.pay(A, 10)
    world.line.answer = codec.pack(answer)
    await world.hand_over.hand_over(TOWER)
    (view,) = world.hand_over.view()
    assert view.behind == 10
    assert trouble in view.trouble
    world.line.answer = None
    await world.hand_over.hand_over(TOWER)
    assert world.hand_over.view()[0].behind == 0


async def test_bytes_that_are_no_answer_are_the_towers_fault(autojump_clock: MockClock, world: WatchWorld) -> None:
    await world.pay(A, 10)
    world.line.answer = b"\xc1"
    with trio.move_on_after(PACE_S * 2):
        await world.hand_over.hand_over_forever()
    assert "not reached" in world.hand_over.view()[0].trouble


async def test_the_line_that_is_cut_is_told_by_name(autojump_clock: MockClock, world: WatchWorld) -> None:
    await world.pay(A, 10)
    world.line.cut = True
    with pytest.raises(PeerUnreachable):
        await world.hand_over.hand_over(TOWER)
