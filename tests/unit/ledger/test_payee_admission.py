"""What a payee promises rests on money that is there: windows long enough, one deposit for one promise, every crash."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.ports import LaneDeposit
from ledger.voucher import SessionKey
from market.errors import BrokenInvariant
from tests.fakes.lane_world import LaneWorld
from tests.fakes.mortal_journal import MortalJournal

A, B = b"a" * 16, b"b" * 16


@pytest.fixture
async def world() -> LaneWorld:
    return LaneWorld()


async def test_nothing_is_sold_on_a_lane_whose_payer_could_be_gone_before_we_look(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    for key, delay_s, admitted in ((b"\x10", 3599, False), (b"\x11", 3600, True), (b"\x12", 4000, True)):
        lane = replace(world.lane, signer=SessionKey(key * 32).address)
        model = world.chain._now().model
        model.step_s = 1
        model.lanes[lane] = replace(model.lane(lane), balance=100, delay_s=delay_s)
        model.tokens[world.chain.domain.escrow] = model.tokens.get(world.chain.domain.escrow, 0) + 100
        await trio.sleep(3)
        assert await world.payee.admit(key * 16, lane, 100) is admitted, delay_s


async def test_of_two_leases_asked_for_at_once_one_deposit_carries_one(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.payer_chain.deposit_many([LaneDeposit(lane=world.lane, amount=100)])
    await trio.sleep(3)
    admitted: dict[bytes, bool] = {}

    async def ask(lease_id: bytes) -> None:
        admitted[lease_id] = await world.payee.admit(lease_id, world.lane, 60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, A)
        nursery.start_soon(ask, B)
    assert sorted(admitted.values()) == [False, True]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("writes", range(3))
async def test_a_crash_at_any_write_does_not_make_a_promised_deposit_free_again(
    autojump_clock: MockClock, world: LaneWorld, writes: int, kept: bool
) -> None:
    await world.payer_chain.deposit(world.lane.payee, world.lane.signer, 100)
    await trio.sleep(3)
    world.payee_journal = mortal = MortalJournal(world.payee_journal, writes, kept=kept)
    await world.restart_payee()
    promised = None
    with suppress(BrokenInvariant):
        promised = await world.payee.admit(A, world.lane, 60)
    assert mortal.died == (writes < 2)
    await world.crash_payee()
    first = await world.payee.admit(B, world.lane, 60)
    second = await world.payee.admit(A, world.lane, 60)
    assert [first, second].count(True) == 1
    # A promise that was heard stands, and so does one that reached the disk unheard.
    assert second is (promised is True or (writes == 1 and kept))


async def test_a_deposit_that_a_reorg_takes_back_during_the_lease_frees_nothing_twice(
    autojump_clock: MockClock,
) -> None:
    world = LaneWorld(confirmations=2)
    await world.funded(A, 60)
    await world.pay(A, 20)
    world.chain.reorg(world.chain.head_number())
    world.chain._pending.clear()
    assert await world.payee.admit(B, world.lane, 40) is False
    assert world.payee.owed_cumulative(world.lane) == 20
    # The money is gone, and what was vouched is not forgotten: a refill pays it before anything else.
    await world.payer_chain.deposit(world.lane.payee, world.lane.signer, 60)
    await trio.sleep(3)
    assert await world.payee.admit(B, world.lane, 40) is False
    await world.payee.redeem()
    assert world.paid == 20
