"""What a payer sends happens once, and each act leaves its trace in the journal."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ledger.lane_facts import TransactionMined
from ledger.lane_journal import LaneJournal
from ledger.payer_chain import PayerChain
from ledger.voucher import Domain
from market.codec import unpack_record
from market.errors import InvalidRequest, Unavailable
from tests.fakes.lane_world import TOKENS, LaneWorld
from tests.fakes.memory_journal import MemoryJournal


class Fixture:
    """The chain side of a payer over a journal that can crash."""

    def __init__(self) -> None:
        self.world = LaneWorld()
        self.lane = self.world.lane
        self.journal = MemoryJournal()
        self.restart()

    def restart(self) -> None:
        chain = self.world.payer_chain
        self.lanes = LaneJournal(self.journal, "paying", Domain(chain.chain_id, chain.escrow), self.world.clock.now_ms)
        self.chain = PayerChain(chain, self.lanes, self.world.clock.now_ms, confirmations=0)

    async def purposes(self) -> list[str]:
        entries = [entry for entry in await self.journal.read_all() if entry.kind == "TransactionMined"]
        return [unpack_record(entry.body, TransactionMined).purpose for entry in entries]


@pytest.fixture
async def payer() -> Fixture:
    return Fixture()


async def test_the_intent_is_written_before_the_deposit_is_sent(autojump_clock: MockClock, payer: Fixture) -> None:
    with trio.move_on_after(0.1):
        await payer.chain.deposit(payer.lane, 40)

    assert [entry.kind for entry in await payer.journal.read_all()][-1] == "DepositIntended"
    assert payer.world.kept == TOKENS


async def test_an_open_intent_is_settled_by_what_the_lane_shows(autojump_clock: MockClock, payer: Fixture) -> None:
    with trio.move_on_after(0.1):
        await payer.chain.deposit(payer.lane, 40)
    payer.journal = payer.journal.crash()
    payer.restart()
    await payer.lanes.load()

    with pytest.raises(Unavailable):
        await payer.chain.settle_deposit(payer.lane)
    await trio.sleep(3)
    await payer.chain.settle_deposit(payer.lane)
    assert payer.lanes.books(payer.lane).deposit is None
    assert payer.lanes.books(payer.lane).balance == 40


async def test_a_deposit_mined_between_the_two_questions_is_not_sent_again(
    autojump_clock: MockClock, payer: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.move_on_after(0.1):
        await payer.chain.deposit(payer.lane, 40)
    unmined = payer.world.payer_chain.unmined

    async def asked_late() -> int:
        await trio.sleep(5)
        return await unmined()

    monkeypatch.setattr(payer.world.payer_chain, "unmined", asked_late)
    await payer.chain.settle_deposit(payer.lane)
    assert payer.lanes.books(payer.lane).balance == 40


async def test_an_impossible_deposit_leaves_no_intent_behind(autojump_clock: MockClock, payer: Fixture) -> None:
    with pytest.raises(InvalidRequest):
        await payer.chain.deposit(payer.lane, TOKENS + 1)
    assert payer.lanes.books(payer.lane).deposit is None

    with pytest.raises(Unavailable) as refused:
        await payer.chain.deposit(payer.lane, 0)
    assert refused.value.code == "deposit_reverted"
    assert payer.lanes.books(payer.lane).deposit is None


async def test_each_act_is_sent_once_and_kept_for_the_history(autojump_clock: MockClock, payer: Fixture) -> None:
    await payer.chain.deposit(payer.lane, 40)
    for _ in range(2):
        await payer.chain.start_exit(payer.lane)
    assert (await payer.chain.cancel_exit(payer.lane)).exit_at == 0
    await payer.chain.start_exit(payer.lane)
    assert await payer.chain.finish_exit_when_due(payer.lane) is None
    await trio.sleep(3600)
    for _ in range(2):
        await payer.chain.finish_exit_when_due(payer.lane)

    assert await payer.purposes() == ["deposit", "start_exit", "cancel_exit", "start_exit", "finish_exit"]
    assert payer.world.kept == TOKENS


async def test_an_unchanged_lane_is_not_written_down_again(autojump_clock: MockClock, payer: Fixture) -> None:
    await payer.chain.deposit(payer.lane, 40)
    before = await payer.journal.read_all()
    await payer.chain.observe(payer.lane)

    assert await payer.journal.read_all() == before


async def test_an_exit_that_cannot_be_cancelled_is_told(
    autojump_clock: MockClock, payer: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await payer.chain.deposit(payer.lane, 40)
    exit_started = await payer.chain.start_exit(payer.lane)

    async def without_effect(*_: object) -> object:
        await trio.lowlevel.checkpoint()
        return exit_started

    monkeypatch.setattr(payer.world.payer_chain, "cancel_exit", without_effect)
    with pytest.raises(Unavailable) as refused:
        await payer.chain.cancel_exit(payer.lane)
    assert refused.value.code == "exit_running"
