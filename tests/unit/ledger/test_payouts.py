"""Earnings reach their owner once: whatever is cut off, lost, late or reorganised in between."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.payout_rules import PayoutPlan
from ledger.payouts import LOOKS, Payouts
from market.errors import BrokenInvariant, FabricError, InvalidRequest, Unavailable
from tests.fakes.escrow_model import Event, RevertError
from tests.fakes.lane_world import TrioClock
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_tokens import MemoryTokens

HOT, OWNER = b"\x01" * 20, b"\x0a" * 20
PLAN = PayoutPlan(to=OWNER, threshold=100)
PATIENCE_S = 120


class Till:
    """An account that earns, and what survives its process."""

    def __init__(self, plan: PayoutPlan = PLAN) -> None:
        self.clock = TrioClock()
        self.chain = MemoryChain(self.clock)
        self.view = self.chain.view(HOT)
        self.chain.give_gas(HOT)
        self.journal = MemoryJournal()
        self.plan = plan
        self.earned = 0
        self.tokens = MemoryTokens(self.view)
        self.payouts = self._open()

    def earn(self, amount: int) -> None:
        self.earned += amount
        self.chain.mint(HOT, amount)

    async def step(self) -> bool:
        return await self.payouts.step(self.earned) is not None

    async def step_until_quiet(self) -> None:
        """As the node does: again and again, whatever is raised."""
        for _ in range(2 + LOOKS):
            try:
                await self.step()
            except Unavailable:
                await trio.sleep(PATIENCE_S + 10)

    async def crash(self, *, keep_in_flight: bool = False) -> None:
        self.journal = self.journal.crash(keep_in_flight=keep_in_flight)
        self.payouts = self._open()
        await self.payouts.load()

    def at(self, account: bytes) -> int:
        return self.chain.state_at(self.chain.head_number()).model.tokens.get(account, 0)

    def _open(self) -> Payouts:
        domain = self.chain.domain
        return Payouts(self.tokens, self.journal, self.plan, domain, self.clock.now_ms, patience_ms=PATIENCE_S * 1000)


async def test_earnings_go_to_the_owner_once_the_threshold_is_reached(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(99)
    assert not await till.step()
    till.earn(1)
    assert await till.step()
    assert (till.at(OWNER), till.at(HOT)) == (100, 0)
    assert not await till.step()
    kinds = [entry.kind for entry in await till.payouts.entries()]
    assert kinds == ["PayoutsBegan", "PayoutIntended", "PayoutSettled"]


async def test_tokens_that_were_not_earned_stay(autojump_clock: MockClock) -> None:
    till = Till()
    till.chain.mint(HOT, 10_000)
    till.earn(150)
    assert await till.step()
    assert (till.at(OWNER), till.at(HOT)) == (150, 10_000)


async def test_what_is_to_be_kept_is_kept(autojump_clock: MockClock) -> None:
    till = Till(replace(PLAN, keep=60))
    till.earn(200)
    assert await till.step()
    assert (till.at(OWNER), till.at(HOT)) == (140, 60)


async def test_a_date_is_waited_for(autojump_clock: MockClock) -> None:
    till = Till(replace(PLAN, every="day"))
    till.earn(500)
    assert not await till.step()
    await trio.sleep(24 * 3600)
    assert await till.step()
    till.earn(500)
    assert not await till.step()
    amount, next_ms = await till.payouts.due(till.earned)
    assert amount == 500
    assert next_ms > till.clock.now_ms()


async def test_without_a_plan_nothing_is_ever_sent(autojump_clock: MockClock) -> None:
    till = Till()
    till.payouts.plan = None
    till.earn(10**6)
    assert not await till.step()
    assert await till.payouts.due(till.earned) == (0, 0)
    assert await till.payouts.entries() == []


async def test_a_lost_answer_is_not_answered_by_a_second_payout(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(300)
    till.view.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await till.step()
    with pytest.raises(Unavailable) as refused:
        await till.step()  # it is in the pool
    assert refused.value.code == "payout_pending"
    await till.step_until_quiet()
    assert (till.at(OWNER), till.tokens.sent) == (300, 1)


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("keep_in_flight", [False, True])
async def test_a_kill_between_the_journal_and_the_answer_pays_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, sent: bool, keep_in_flight: bool
) -> None:
    till = Till()
    till.earn(300)
    really_send = till.tokens.transfer

    async def die(to: bytes, amount: int) -> None:
        if sent:
            till.view.answers_to_lose = 1
            with pytest.raises(Unavailable):
                await really_send(to, amount)
        raise BrokenInvariant("killed")

    monkeypatch.setattr(till.tokens, "transfer", die)
    with pytest.raises(BrokenInvariant):
        await till.step()
    monkeypatch.undo()
    await till.crash(keep_in_flight=keep_in_flight)
    await till.step_until_quiet()
    assert till.at(OWNER) == 300
    assert till.payouts.books is not None
    assert (till.payouts.books.paid_out, till.payouts.books.open) == (300, None)
    till.earn(100)
    assert await till.step()
    assert till.at(OWNER) == 400


async def test_a_kill_at_every_step_pays_every_unit_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at the n-th question to the chain or write to the journal, for every n, and comes back."""
    till = Till()
    for number in range(1, 40):
        till.earn(100 + number)
        countdown = number

        def tick() -> None:
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                raise BrokenInvariant("killed")

        with monkeypatch.context() as patch:
            for name in ("head", "token_balance", "unmined", "transfer", "transfers_since"):
                patch.setattr(till.tokens, name, _dying(getattr(till.tokens, name), tick))
            patch.setattr(till.journal, "append", _dying(till.journal.append, tick))
            with suppress(BrokenInvariant):
                await till.step_until_quiet()
        await till.crash(keep_in_flight=bool(number % 2))
        await till.step_until_quiet()
        assert till.at(OWNER) == till.earned, number
        assert till.payouts.books is not None
        assert till.payouts.books.paid_out == till.earned


def _dying(verb: object, tick: object) -> object:
    async def call(*arguments: object, **named: object) -> object:
        tick()  # type: ignore[operator]
        answer = await verb(*arguments, **named)  # type: ignore[operator]
        tick()  # type: ignore[operator]
        return answer

    return call


async def test_a_payout_that_was_mined_before_the_crash_is_found_again(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(300)
    till.view.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await till.step()
    await trio.sleep(10)
    await till.crash()
    assert not await till.step()
    settled = (await till.payouts.entries())[-1]
    assert settled.kind == "PayoutSettled"
    assert (till.at(OWNER), till.tokens.sent) == (300, 1)


async def test_an_equal_payout_of_before_is_not_taken_for_the_open_one(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(300)
    assert await till.step()
    till.earn(300)
    till.view.offline = True
    with pytest.raises(FabricError):
        await till.step()
    till.view.offline = False
    await till.step_until_quiet()
    assert (till.at(OWNER), till.at(HOT)) == (600, 0)


async def test_a_chain_that_lags_behind_does_not_make_a_payout_lost(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(300)
    till.view.answers_to_lose = 1
    with pytest.raises(Unavailable):
        await till.step()
    really_look = till.tokens.transfers_since
    old = await really_look(OWNER, 0)

    async def lagging(*_arguments: object) -> object:
        return old

    async def nothing() -> int:
        return 0

    till.tokens.transfers_since, till.tokens.unmined = lagging, nothing  # type: ignore[method-assign,assignment]
    for _ in range(5 * LOOKS):
        await trio.sleep(PATIENCE_S)
        with pytest.raises(Unavailable) as refused:
            await till.step()
        assert refused.value.code == "payout_pending"
    till.tokens.transfers_since = really_look  # type: ignore[method-assign]
    await till.step_until_quiet()
    assert (till.at(OWNER), till.tokens.sent) == (300, 1)


@pytest.mark.parametrize("crash", [False, True])
async def test_one_machine_behind_the_others_does_not_make_a_payout_lost(
    autojump_clock: MockClock, crash: bool
) -> None:
    """Behind one address some machines answer with a new block and an old log."""
    till = Till()
    till.earn(300)
    really_look = till.tokens.transfers_since
    left = LOOKS - 1

    async def sometimes_empty(to: bytes, first: int) -> object:
        nonlocal left
        found, head = await really_look(to, first)
        left -= 1
        return ([] if left >= 0 else found), head

    till.tokens.transfers_since = sometimes_empty  # type: ignore[method-assign,assignment]
    with pytest.raises(Unavailable):
        await till.step()  # mined, and not in the log of the machine that was asked
    if crash:
        await till.crash()
    await trio.sleep(PATIENCE_S + 10)
    await till.step_until_quiet()
    assert (till.at(OWNER), till.tokens.sent) == (300, 1)


async def test_a_payout_that_was_thrown_out_by_a_reorganisation_is_mined_again_and_not_sent_again(
    autojump_clock: MockClock,
) -> None:
    till = Till()
    till.earn(300)
    assert await till.step()
    till.chain.reorg(2)
    assert not await till.step()
    await trio.sleep(10)
    await till.step_until_quiet()
    assert (till.at(OWNER), till.tokens.sent) == (300, 1)


async def test_without_gas_nothing_is_sent_and_the_next_try_is_free(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(300)
    till.chain.give_gas(HOT, -(10**18))
    with pytest.raises(InvalidRequest) as refused:
        await till.step()
    assert refused.value.code == "gas_short"
    till.chain.give_gas(HOT, 10**18)
    assert await till.step()
    assert till.at(OWNER) == 300


async def test_a_token_that_moves_nothing_is_not_believed(autojump_clock: MockClock) -> None:
    till = Till()
    till.earn(300)
    till.tokens.eats_transfers = True
    with pytest.raises(Unavailable) as refused:
        await till.step()
    assert refused.value.code == "payout_pending"
    assert till.payouts.books is not None
    assert till.payouts.books.paid_out == 0
    till.tokens.eats_transfers = False
    await till.step_until_quiet()
    assert (till.at(OWNER), till.payouts.books.paid_out) == (300, 300)


async def test_a_token_that_refuses_is_told(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till()
    till.earn(300)
    blocked = till.tokens._move

    def refuse(*_arguments: object) -> list[Event]:
        raise RevertError("blocked")

    monkeypatch.setattr(till.tokens, "_move", refuse)
    with pytest.raises(Unavailable) as refused:
        await till.step()
    assert refused.value.code == "payout_refused"
    monkeypatch.setattr(till.tokens, "_move", blocked)
    assert await till.step()
    assert till.at(OWNER) == 300
