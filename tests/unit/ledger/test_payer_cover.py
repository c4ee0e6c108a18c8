"""A lease may be covered a stretch at a time; no stretch is promised twice, and nothing is signed beyond it."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from market.errors import BrokenInvariant, FabricError, PeerFault
from tests.fakes.lane_world import TOKENS, LaneWorld
from tests.fakes.mortal_journal import MortalJournal

A, B = b"a" * 16, b"b" * 16


@pytest.fixture
async def world() -> LaneWorld:
    world = LaneWorld()
    await world.payer.reserve(A, world.lane.payee, 100)
    return world


async def test_only_the_stretch_is_deposited_and_only_so_much_is_signed(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.payer.ensure_funded(A, 30)
    assert (world.kept, world.payer.cover_of(A)) == (TOKENS - 30, 30)
    await world.payer.acknowledge(A, 30)
    with pytest.raises(PeerFault):
        await world.payer.acknowledge(A, 31)
    await world.payer.ensure_funded(A, 60)
    assert world.kept == TOKENS - 60
    await world.payer.acknowledge(A, 31)
    await world.payer.ensure_funded(A, 20)
    await world.payer.ensure_funded(A, 1_000)
    assert (world.kept, world.payer.cover_of(A), world.payer.cover_of(B)) == (TOKENS - 100, 100, 0)


async def test_two_leases_on_one_lane_have_a_stretch_each(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.payer.reserve(B, world.lane.payee, 50)
    await world.payer.ensure_funded(A, 30)
    await world.payer.ensure_funded(B, 20)
    assert world.kept == TOKENS - 50
    assert await world.payee.admit(A, world.lane, 100, cover=30)
    assert await world.payee.admit(B, world.lane, 50, cover=20)
    await world.pay(A, 30)
    await world.pay(B, 20)
    assert world.payee.owed_cumulative(world.lane) == 50


async def test_what_lies_in_the_lane_already_is_used_without_a_deposit(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.payer.ensure_funded(A, 30)
    with pytest.raises(FabricError) as refused:
        await world.payer.ensure_funded(A, 40, may_deposit=False)
    assert refused.value.code == "not_covered"
    await world.payer_chain.deposit(world.lane.payee, world.lane.signer, 10)
    assert await world.payer.ensure_funded(A, 40, may_deposit=False) is None
    assert (world.payer.cover_of(A), world.kept) == (40, TOKENS - 40)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("writes", range(7))
async def test_a_payer_killed_at_any_write_of_a_top_up_deposits_once(
    autojump_clock: MockClock, world: LaneWorld, writes: int, kept: bool
) -> None:
    await world.payer.ensure_funded(A, 30)
    world.payer_journal = mortal = MortalJournal(world.payer_journal, writes, kept=kept)
    await world.restart_payer()
    try:
        await world.payer.ensure_funded(A, 70)
    except BrokenInvariant:
        assert mortal.died
    assert mortal.died == (writes < 5)
    await world.crash_payer()
    await world.payer.ensure_funded(A, 70)
    assert (world.kept, world.payer.cover_of(A)) == (TOKENS - 70, 70)
