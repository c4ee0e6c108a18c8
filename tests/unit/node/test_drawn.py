"""What became of vouchers: drawn, still to be drawn, or lost with a lane that was closed below them."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from ledger.lane import LaneBooks, summarise
from ledger.ports import LaneKey
from node.drawn import drawn_view
from node.earnings import read_settled
from tests.fakes.lane_world import LaneWorld

LEASE = b"l" * 16
LANE = LaneKey(payer=b"p" * 20, payee=b"q" * 20, signer=b"s" * 20)


def parts(*lanes: LaneBooks) -> tuple[int, int, int, int]:
    view = drawn_view(summarise(one) for one in lanes)
    return (view["vouched"]["units"], view["drawn"]["units"], view["outstanding"]["units"], view["lost"]["units"])


def test_what_the_lane_still_holds_can_be_drawn_and_the_rest_is_lost() -> None:
    open_lane = LaneBooks(lane=LANE, signed=300, claimed=100, balance=1_000)
    short = LaneBooks(lane=LANE, signed=300, claimed=100, balance=150)
    left = LaneBooks(lane=LANE, signed=343, claimed=230, balance=230)
    closed = LaneBooks(lane=LANE, signed=4, claimed=4, balance=4)
    assert parts() == (0, 0, 0, 0)
    assert parts(open_lane) == (300, 100, 200, 0)
    assert parts(short) == (300, 100, 50, 150)
    assert parts(left, closed) == (347, 234, 0, 113)


async def test_a_payer_that_left_took_what_was_not_drawn_in_time(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.funded(LEASE, 1_000)
    await world.pay(LEASE, 230)
    await world.payee.redeem()
    await world.pay(LEASE, 343)
    before = await read_settled(world.payee_journal)
    assert (before["vouched"]["units"], before["outstanding"]["units"], before["lost"]["units"]) == (343, 113, 0)
    await world.payer.release(LEASE)
    await world.payer.begin_exit(world.lane.payee, force=True)
    await trio.sleep(3_700)
    await world.payer.finish_exit_when_due(world.lane.payee)
    await world.payee.lane_on_chain(world.lane)
    after = await read_settled(world.payee_journal)
    assert [one["units"] for one in after.values()] == [343, 230, 0, 113]  # type: ignore[attr-defined]
