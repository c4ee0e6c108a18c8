"""One endpoint that says too much was drawn changes nothing: not what a payer signs, not what a payee holds."""

from __future__ import annotations

import copy

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.lane_doubt import paid_at_most
from ledger.ports import LaneKey, LaneOnChain, LedgerEvent
from market.errors import Unavailable
from tests.fakes.lane_world import LaneWorld
from tests.fakes.memory_chain_view import MemoryChainView

A, B = b"a" * 16, b"b" * 16
LANE = LaneKey(payer=b"p" * 20, payee=b"q" * 20, signer=b"s" * 20)


@pytest.fixture
async def world() -> LaneWorld:
    return LaneWorld()


class Liar:
    """Makes one node's endpoint say that ``more`` was drawn than is true, for ``lies`` answers."""

    def __init__(self, view: MemoryChainView, more: int, lies: int = 10**9) -> None:
        self.more, self.lies, self.asked = more, lies, 0
        self._lane = view.lane
        view.lane = self.lane  # type: ignore[method-assign]
        self._events = view.events
        view.events = self.events  # type: ignore[method-assign]

    async def lane(self, key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        true = await self._lane(key, confirmations=confirmations)
        self.lies -= 1
        return replace(true, claimed=true.claimed + self.more) if self.lies >= 0 else true

    async def events(self, first: int, last: int) -> list[LedgerEvent]:
        self.asked += 1
        return await self._events(first, last)


async def test_a_payer_signs_nothing_more_for_a_claim_it_never_signed(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    await world.pay(A, 10)
    liar = Liar(world.payer_chain, 80)
    await world.payer.reserve(B, world.lane.payee, 50)
    with pytest.raises(Unavailable, match="ever signed") as caught:
        await world.payer.ensure_funded(B)
    assert caught.value.code == "chain_doubted"
    assert (await world.payer.acknowledge(A, 20)).cumulative == 20
    liar.lies = 0
    await world.payer.ensure_funded(B)
    assert (await world.payer.acknowledge(A, 30)).cumulative == 30


async def test_a_payee_keeps_its_voucher_and_redeems_it_all_the_same(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    await world.pay(A, 40)
    liar = Liar(world.payee_chain, 60)
    with pytest.raises(Unavailable):
        await world.payee.lane_on_chain(world.lane)
    assert world.payee.owed_cumulative(world.lane) == 40
    liar.lies = 0
    await world.payee.redeem()
    assert world.paid == 40


async def test_one_slip_of_the_endpoint_is_passed_over(autojump_clock: MockClock, world: LaneWorld) -> None:
    await world.funded(A, 100)
    await world.pay(A, 40)
    liar = Liar(world.payee_chain, 60, lies=2)
    assert (await world.payee.lane_on_chain(world.lane)).claimed == 0
    assert liar.asked == 0


async def test_a_repeated_lie_does_not_have_the_log_read_again_and_again(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    liar = Liar(world.payee_chain, 60)
    for _ in range(20):
        with pytest.raises(Unavailable):
            await world.payee.lane_on_chain(world.lane)
    assert liar.asked == 1
    await trio.sleep(61)
    with pytest.raises(Unavailable):
        await world.payee.lane_on_chain(world.lane)
    assert liar.asked == 2


async def test_books_from_an_old_copy_learn_what_the_events_bear_out(
    autojump_clock: MockClock, world: LaneWorld
) -> None:
    await world.funded(A, 100)
    world.payer_journal = world.payer_journal.crash()
    backup = copy.deepcopy(world.payer_journal)
    await world.crash_payer()
    await world.pay(A, 70)
    await world.payee.redeem()
    world.payer_journal = backup
    await world.crash_payer()
    await world.payer.refundable(world.lane.payee)
    (summary,) = world.payer.summary()
    assert (summary.signed, summary.claimed) == (70, 70)


def test_only_payments_to_this_payee_and_closes_of_this_lane_bear_a_claim_out() -> None:
    names = {"payer": LANE.payer, "provider": LANE.payee, "signer": LANE.signer}

    def event(kind: str, **said: object) -> LedgerEvent:
        return LedgerEvent(kind=kind, block=1, index=0, transaction=b"", arguments=said)

    events = [
        event("Redeemed", provider=LANE.payee, paid=5, rows=1),
        event("Redeemed", provider=b"x" * 20, paid=100, rows=1),
        event("LaneClosed", **names, toProvider=7, toPayer=1000),
        event("LaneClosed", **(names | {"signer": b"y" * 20}), toProvider=200, toPayer=0),
        event("Deposited", **names, amount=400),
        event("Redeemed", provider=LANE.payee, paid="many", rows=1),
    ]
    assert paid_at_most(events, LANE) == 12
