"""The watcher tells every event at least once, in order, through crashes, reorgs and an absent chain."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import MockClock

from ledger import chain_watcher
from ledger.chain_watcher import Backoff, ChainWatcher, lane_of
from ledger.ports import LedgerEvent
from tests.fakes.lane_world import LaneWorld

A = b"a" * 16


@pytest.fixture
async def world() -> LaneWorld:
    return LaneWorld()


def watch(
    world: LaneWorld, *, confirmations: int = 2, first_block: int | None = 0, backoff: Backoff | None = None
) -> ChainWatcher:
    return ChainWatcher(
        world.payee_chain,
        world.payee_journal,
        confirmations=confirmations,
        first_block=first_block,
        poll_s=0.5,
        now_ms=world.clock.now_ms,
        random=Random(7),
        backoff=backoff,
    )


async def collect(watcher: ChainWatcher, seconds: float) -> list[LedgerEvent]:
    events: list[LedgerEvent] = []
    async with watcher.listen() as heard:
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watcher.run)
                async for event in heard:
                    events.append(event)  # noqa: PERF401 - heard until time is up
    return events


async def deposit(world: LaneWorld, amount: int = 10) -> None:
    await world.payer_chain.deposit(world.lane.payee, world.lane.signer, amount)


async def test_a_watcher_that_needs_no_past_begins_at_the_head_and_goes_on_from_there(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await deposit(world)
    await trio.sleep(10)
    assert await collect(watch(world, first_block=None), 5) == []
    await deposit(world, 20)
    assert [event.arguments["amount"] for event in await collect(watch(world, first_block=None), 10)] == [20]


async def test_events_come_in_order_with_their_lane(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world)
    await world.payer_chain.start_exit(world.lane.payee, world.lane.signer)
    await deposit(world)

    events = await collect(watch(world), 10)
    assert [event.kind for event in events] == ["Deposited", "ExitStarted", "Deposited"]
    assert {lane_of(event) for event in events} == {world.lane}
    redeemed = LedgerEvent(kind="Redeemed", block=1, index=0, transaction=b"", arguments={"provider": b"p" * 20})
    assert lane_of(redeemed) is None


async def test_a_block_is_read_only_when_it_lies_deep_enough(autojump_clock: MockClock, world: LaneWorld) -> None:
    await trio.sleep(20)
    watcher = watch(world, confirmations=5)
    heard_at: list[int] = []

    async with trio.open_nursery() as nursery, watcher.listen() as heard:
        nursery.start_soon(watcher.run)
        await deposit(world)
        event = await heard.receive()
        heard_at.append(world.chain.head_number())
        nursery.cancel_scope.cancel()
    assert heard_at[0] >= event.block + 5


async def test_a_reorg_above_the_depth_is_never_noticed(autojump_clock: MockClock, world: LaneWorld) -> None:
    await trio.sleep(20)
    watcher = watch(world, confirmations=5)
    events: list[LedgerEvent] = []

    async def shake() -> None:
        await deposit(world)
        world.chain.reorg(3)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(shake)
        events += await collect(watcher, 30)
    assert [event.kind for event in events] == ["Deposited"]


async def test_an_endpoint_that_tells_of_blocks_far_ahead_blinds_nobody_for_long(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    key = watch(world)._key
    await world.payee_journal.append([], {key: (10**9).to_bytes(8, "big")})
    await deposit(world, 5)
    assert [event.arguments["amount"] for event in await collect(watch(world), 10)] == [5]
    assert await collect(watch(world), 10) == [], "and what was read is remembered again"


async def test_a_restart_goes_on_where_it_was(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world, 1)
    assert len(await collect(watch(world), 10)) == 1
    await deposit(world, 2)
    await world.crash_payee()

    events = await collect(watch(world), 10)
    assert [event.arguments["amount"] for event in events] == [2]


async def test_a_crash_between_telling_and_remembering_tells_again(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world)
    world.payee_journal.full = True
    assert len(await collect(watch(world), 10)) == 1

    world.payee_journal.full = False
    await world.crash_payee()
    assert len(await collect(watch(world), 10)) == 1


async def test_an_absent_chain_is_waited_for_and_reported(autojump_clock: MockClock, world: LaneWorld) -> None:
    await deposit(world)
    watcher = watch(world, backoff=Backoff(first_s=1, most_s=8))
    world.payee_chain.offline = True
    away_since = world.clock.now_ms()

    async with trio.open_nursery() as nursery, watcher.listen() as heard:
        nursery.start_soon(watcher.run)
        await trio.sleep(100)
        assert watcher.status.unreachable_since_ms == away_since
        assert 100 / 8 < watcher.status.failures < 40
        world.payee_chain.offline = False
        assert (await heard.receive()).kind == "Deposited"
        await trio.sleep(1)
        assert (watcher.status.unreachable_since_ms, watcher.status.failures) == (0, 0)
        nursery.cancel_scope.cancel()


def test_the_back_off_doubles_up_to_its_bound_and_is_shortened_by_chance() -> None:
    backoff, random = Backoff(first_s=1, most_s=60), Random(3)

    for failures, ceiling in ((1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10**6, 60)):
        delays = [backoff.delay_s(failures, random) for _ in range(50)]
        assert all(ceiling / 2 <= delay <= ceiling for delay in delays)
        assert len(set(delays)) > 40


async def test_a_long_way_is_gone_in_bounded_steps(
    autojump_clock: MockClock, world: LaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_watcher, "MAX_RANGE", 7)
    asked: list[tuple[int, int]] = []
    events_of = world.payee_chain.events

    async def events(first: int, last: int) -> list[LedgerEvent]:
        asked.append((first, last))
        return await events_of(first, last)

    monkeypatch.setattr(world.payee_chain, "events", events)
    await trio.sleep(50)
    await deposit(world)

    assert len(await collect(watch(world), 10)) == 1
    assert all(last - first < 7 for first, last in asked)
    assert [first for first, _ in asked[1:]] == [last + 1 for _, last in asked[:-1]]


async def test_a_listener_that_does_not_read_holds_the_watcher_and_loses_nothing(
    autojump_clock: MockClock, world: LaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_watcher, "MAX_WAITING", 1)
    for amount in range(1, 6):
        await deposit(world, amount)
    watcher = watch(world)

    async with trio.open_nursery() as nursery:
        async with watcher.listen() as slow:
            nursery.start_soon(watcher.run)
            await trio.sleep(20)
            assert watcher.status.block < 5
            assert [(await slow.receive()).arguments["amount"] for _ in range(5)] == [1, 2, 3, 4, 5]
        await trio.sleep(20)
        assert watcher.status.block > 10
        nursery.cancel_scope.cancel()


async def test_a_listener_that_leaves_does_not_stop_the_others(
    autojump_clock: MockClock, world: LaneWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_watcher, "MAX_WAITING", 1)
    watcher = watch(world)
    for amount in (1, 2, 3):
        await deposit(world, amount)

    async with trio.open_nursery() as nursery, watcher.listen() as stays:
        async with watcher.listen():
            nursery.start_soon(watcher.run)
            await trio.sleep(20)
        assert [(await stays.receive()).arguments["amount"] for _ in range(3)] == [1, 2, 3]
        nursery.cancel_scope.cancel()
