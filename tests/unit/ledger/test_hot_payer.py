"""What the hot keys may give away in one day, and lanes that are topped up by hand."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from ledger.hot_payer import DAY_MS, HotPayer
from market.errors import InvalidRequest, PeerFault, Unavailable
from tests.fakes.lane_world import START_MS, TOKENS, LaneWorld

LIMIT = 1_000
UNTIL_MIDNIGHT_S = (DAY_MS - START_MS % DAY_MS) // 1000 + 1


class Hot(LaneWorld):
    """A world whose payer has a limit."""

    limit = LIMIT

    def _new_payer(self) -> HotPayer:
        return HotPayer(
            self.payer_chain, self.payer_journal, self.session, self.clock.now_ms, confirmations=1, limit=self.limit
        )

    async def lease(self, name: bytes, cap: int) -> bytes:
        lease_id = name * 16
        await self.payer.reserve(lease_id, self.lane.payee, cap)
        await self.payer.ensure_funded(lease_id)
        return lease_id

    @property
    def hot(self) -> HotPayer:
        assert isinstance(self.payer, HotPayer)
        return self.payer


async def opened() -> Hot:
    world = Hot()
    await world.payer.load()
    return world


async def code_of(question: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        await question
    return refused.value.code


async def test_a_lease_begins_only_if_all_it_can_cost_still_fits(autojump_clock: MockClock) -> None:
    world = await opened()
    assert await code_of(world.hot.reserve(b"a" * 16, world.lane.payee, LIMIT + 1)) == "spending_limit"
    await world.hot.reserve(b"a" * 16, world.lane.payee, 700)
    assert world.hot.left_today() == 300
    assert await code_of(world.hot.reserve(b"b" * 16, world.lane.payee, 301)) == "spending_limit"
    await world.hot.reserve(b"b" * 16, world.lane.payee, 300)
    await world.hot.reserve(b"b" * 16, world.lane.payee, 300)  # asked again after a lost answer
    assert world.hot.left_today() == 0


async def test_what_a_lease_did_not_use_is_free_again_and_what_it_used_is_not(autojump_clock: MockClock) -> None:
    world = await opened()
    lease = await world.lease(b"a", 900)
    await world.hot.acknowledge(lease, 400)
    await world.hot.release(lease)
    assert (world.hot.vouched_today(), world.hot.left_today()) == (400, 600)


async def test_nothing_above_the_limit_is_ever_signed(autojump_clock: MockClock) -> None:
    world = await opened()
    lease = await world.lease(b"a", 900)
    world.hot.limit = 500  # lowered by its owner between two starts
    await world.hot.acknowledge(lease, 500)
    assert await code_of(world.hot.acknowledge(lease, 501)) == "spending_limit"
    assert world.hot.summary()[0].signed == 500
    assert (await world.hot.acknowledge(lease, 500)).cumulative == 500


async def test_a_new_day_has_a_new_limit(autojump_clock: MockClock) -> None:
    world = await opened()
    lease = await world.lease(b"a", 1_000)
    await world.hot.acknowledge(lease, 1_000)
    await world.hot.release(lease)
    assert await code_of(world.hot.reserve(b"b" * 16, world.lane.payee, 1)) == "spending_limit"
    await trio.sleep(UNTIL_MIDNIGHT_S)
    assert world.hot.vouched_today() == 0
    again = await world.lease(b"b", 1_000)
    await world.hot.acknowledge(again, 1_000)


async def test_a_job_that_runs_over_midnight_is_not_cut_off(autojump_clock: MockClock) -> None:
    world = await opened()
    first = await world.lease(b"a", 1_000)
    await world.hot.acknowledge(first, 600)
    await trio.sleep(UNTIL_MIDNIGHT_S)
    second = await world.lease(b"b", 600)
    await world.hot.acknowledge(second, 600)
    await world.hot.acknowledge(first, 1_000)
    assert (world.hot.vouched_today(), world.hot.left_today()) == (1_000, 0)


@pytest.mark.parametrize("keep_in_flight", [False, True])
async def test_a_restart_does_not_forget_what_was_given_away(autojump_clock: MockClock, keep_in_flight: bool) -> None:
    world = await opened()
    lease = await world.lease(b"a", 900)
    await world.hot.acknowledge(lease, 400)
    await world.crash_payer(keep_in_flight=keep_in_flight)
    assert (world.hot.vouched_today(), world.hot.left_today()) == (400, 100)
    assert (await world.hot.acknowledge(lease, 400)).cumulative == 400
    assert world.hot.vouched_today() == 400


async def test_a_crash_between_counting_and_signing_counts_once(autojump_clock: MockClock) -> None:
    world = await opened()
    lease = await world.lease(b"a", 900)
    await world.hot._count(lease, 400)
    await world.crash_payer()
    assert world.hot.vouched_today() == 400
    await world.hot.acknowledge(lease, 400)
    assert world.hot.vouched_today() == 400


async def test_many_leases_at_once_never_go_above_the_limit(autojump_clock: MockClock) -> None:
    world = await opened()
    refused = []

    async def begin(number: int) -> None:
        try:
            await world.hot.reserve(bytes([number]) * 16, world.lane.payee, 100)
        except InvalidRequest as error:
            refused.append(error.code)

    async with trio.open_nursery() as nursery:
        for number in range(1, 16):
            nursery.start_soon(begin, number)
    assert refused == ["spending_limit"] * 5
    assert world.hot.left_today() == 0


async def test_more_than_a_lease_may_cost_is_refused_and_not_counted(autojump_clock: MockClock) -> None:
    world = await opened()
    lease = await world.lease(b"a", 100)
    with pytest.raises(PeerFault):
        await world.hot.acknowledge(lease, 101)
    assert await code_of(world.hot.acknowledge(b"z" * 16, 1)) == "unknown_lease"
    assert world.hot.vouched_today() == 0


async def test_nothing_is_signed_when_it_cannot_be_written_down(autojump_clock: MockClock) -> None:
    world = await opened()
    lease = await world.lease(b"a", 100)

    async def full(*_arguments: object, **_named: object) -> None:
        raise Unavailable("the disk is full", code="disk_full")

    world.payer_journal.append = full  # type: ignore[method-assign,assignment]
    with pytest.raises(Unavailable):
        await world.hot.acknowledge(lease, 50)
    assert (world.hot.vouched_today(), world.hot.summary()[0].signed) == (0, 0)


async def test_without_a_limit_nothing_is_counted(autojump_clock: MockClock) -> None:
    world = await opened()
    world.hot.limit = 0
    lease = await world.lease(b"a", 100_000)
    await world.hot.acknowledge(lease, 100_000)
    assert world.hot.vouched_today() == 0
    assert world.hot.left_today() > TOKENS


async def test_a_lane_is_topped_up_by_hand_and_a_running_exit_stops(autojump_clock: MockClock) -> None:
    world = await opened()
    payee = world.lane.payee
    assert (await world.hot.top_up(payee, 300)).succeeded
    await world.hot.begin_exit(payee)
    await world.hot.top_up(payee, 200)
    (lane,) = world.hot.summary()
    assert (lane.balance, lane.exit_at) == (500, 0)
    assert world.kept == TOKENS - 500


async def test_a_lost_answer_to_a_top_up_is_not_paid_twice(autojump_clock: MockClock) -> None:
    world = await opened()
    await world.hot.top_up(world.lane.payee, 100)
    world.payer_chain.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await world.hot.top_up(world.lane.payee, 300)
    with pytest.raises(Unavailable) as refused:
        await world.hot.top_up(world.lane.payee, 300)
    assert refused.value.code == "deposit_pending"
    assert world.kept == TOKENS - 100
    await trio.sleep(10)
    assert world.kept == TOKENS - 400
