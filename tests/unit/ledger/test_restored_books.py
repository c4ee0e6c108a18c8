"""Books from an old copy: what they forgot is not paid twice by the payer, nor given away by the payee."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from market.errors import PeerFault
from tests.fakes.lane_world import LaneWorld
from tests.fakes.memory_journal import MemoryJournal

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def copy_of(journal: MemoryJournal) -> MemoryJournal:
    copy = MemoryJournal()
    copy._entries, copy._values = list(journal._entries), dict(journal._values)
    return copy


@pytest.fixture
async def world(autojump_clock: MockClock) -> LaneWorld:
    """A lane on which A and B are funded; the payer's journal of then is put back after 100 were paid and drawn."""
    world = LaneWorld()
    await world.funded(A, 500)
    await world.funded(B, 500)
    copy = copy_of(world.payer_journal)
    await world.pay(A, 30)
    await world.pay(B, 70)
    await world.payee.redeem()
    world.payer_journal = copy
    await world.crash_payer()
    await world.funded(C, 50)  # The payer looks at the chain, and learns what was drawn.
    return world


@pytest.mark.parametrize("order", [(A, B, C), (B, A, C), (C, B, A)])
async def test_a_payer_pays_nothing_twice(
    autojump_clock: MockClock, world: LaneWorld, order: tuple[bytes, ...]
) -> None:
    owed = {A: 110, B: 90, C: 20}
    for lease in order:
        for _ in range(2):
            voucher = await world.payer.acknowledge(lease, owed[lease])
            assert voucher.cumulative <= sum(owed.values())
    for lease in order:
        await world.pay(lease, owed[lease])
    await world.payee.redeem()
    assert world.paid == sum(owed.values())


async def test_what_no_open_lease_can_have_cost_is_paid_on_top(autojump_clock: MockClock, world: LaneWorld) -> None:
    for lease in (A, B, C):
        await world.payer.release(lease)
        await world.payee.release(lease)
    later = b"d" * 16
    await world.funded(later, 40)
    await world.pay(later, 40)
    await world.payee.redeem()
    assert world.paid == 140


async def test_a_payee_takes_no_voucher_for_what_it_may_have_been_paid_before(autojump_clock: MockClock) -> None:
    world = LaneWorld()
    await world.funded(A, 500)
    copy = copy_of(world.payee_journal)
    await world.pay(A, 100)
    await world.payee.redeem()
    world.payee_journal = copy
    await world.crash_payee()
    await world.payee.lane_on_chain(world.lane)

    with pytest.raises(PeerFault) as refused:
        await world.pay(A, 110)
    assert refused.value.code == "too_small"
    await world.payee.release(A)
    await world.funded(B, 50)
    await world.pay(B, 5)
    await world.payee.redeem()
    assert world.paid == 115
