"""Transactions seen through: forks, forgetful pools, dear gas, a second program, a kill between writing and sending."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from ledger.evm_sender import EvmSender, SendPolicy
from ledger.gas_fees import GWEI
from ledger.outbox import Outbox
from ledger.ports import OLD_COPY, NewEntry
from ledger.transaction_signing import KeySigner, SignedTransaction, UnsignedTransaction
from market.errors import InvalidRequest, Unavailable
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.scripted_chain import BLOCK_S, CHAIN_ID, ScriptedChain, ScriptedRpc, tag

KEY = KeySigner(b"\x31" * 32)
TO = b"\x32" * 20
POLICY = SendPolicy(
    confirmations=1, final_after=6, poll_ms=500, fee_cap_wei=100 * GWEI, urgent_cap_wei=300 * GWEI, bump_after_s=10
)


class World:
    def __init__(self, background: trio.Nursery) -> None:
        self.background = background
        self.chain = ScriptedChain()
        self.rpc = ScriptedRpc(self.chain)
        self.journal = MemoryJournal()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[EvmSender]:
        """A sender of a fresh process, on what the journal holds."""
        outbox = Outbox(self.journal, chain_id=CHAIN_ID, account=KEY.account, now_ms=lambda: 1)
        sender = EvmSender(self.rpc, KEY, chain_id=CHAIN_ID, policy=POLICY, outbox=outbox)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            await sender.resume()
            nursery.start_soon(sender.keep)
            yield sender
            nursery.cancel_scope.cancel()

    def kill(self) -> None:
        self.journal = self.journal.crash()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        world = World(nursery)
        nursery.start_soon(world.chain.run)
        yield world
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], limit_s: float = 600) -> None:
    with trio.fail_after(limit_s):
        while not condition():
            await trio.sleep(0.5)


async def test_a_transaction_that_three_blocks_took_with_them_is_sent_again_after_its_sender_was_told(
    autojump_clock: MockClock,
    world: World,
) -> None:
    async with world.running() as sender:
        await sender.send(TO, tag(1))
        world.chain.reorganise(3, forget=True)
        assert not world.chain.effects()
        await until(lambda: world.chain.effects() == {tag(1): 1})


async def test_a_transaction_that_another_fork_has_too_is_found_again(autojump_clock: MockClock, world: World) -> None:
    async with world.running() as sender:
        await sender.send(TO, tag(1))
        sent = len(world.chain.seen)
        world.chain.reorganise(3, forget=False)
        await until(lambda: world.chain.effects() == {tag(1): 1})
        await trio.sleep(20 * BLOCK_S)
        assert {one.hash for one in world.chain.seen[sent:]} <= {world.chain.seen[0].hash}


async def test_a_transaction_that_the_pool_forgot_is_sent_again(autojump_clock: MockClock, world: World) -> None:
    world.chain.base = 90 * GWEI
    world.chain.tip_needed = 50 * GWEI
    async with world.running() as sender, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, TO, tag(1))
        await until(lambda: bool(world.chain.pool))
        world.chain.pool.clear()
        world.chain.base, world.chain.tip_needed = 10 * GWEI, 0
        await until(lambda: world.chain.effects() == {tag(1): 1})


async def test_dear_gas_is_waited_out_and_said(autojump_clock: MockClock, world: World) -> None:
    world.chain.base = 5_000 * GWEI
    async with world.running() as sender, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, TO, tag(1))
        await trio.sleep(60)
        assert not world.chain.seen
        assert f"more than the cap of {POLICY.fee_cap_wei}" in sender.view().waiting
        world.chain.base = 10 * GWEI
        await until(lambda: world.chain.effects() == {tag(1): 1})
        assert sender.view().waiting == ""


async def test_an_urgent_transaction_may_cost_more_and_lifts_what_it_queues_behind(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.running() as sender, trio.open_nursery() as nursery:
        world.chain.base, world.chain.tip_needed = 20 * GWEI, 10**12
        nursery.start_soon(sender.send, TO, tag(1))
        await until(lambda: bool(world.chain.pool))
        world.chain.base, world.chain.tip_needed = 150 * GWEI, 0
        await trio.sleep(120)
        assert not world.chain.effects()
        assert max(one.fee_cap for one in world.chain.seen) <= POLICY.fee_cap_wei
        with trio.fail_after(300):
            await sender.send(TO, tag(2), urgent=True)
        assert world.chain.effects() == {tag(1): 1, tag(2): 1}
        assert POLICY.fee_cap_wei < max(one.fee_cap for one in world.chain.seen) <= POLICY.urgent_cap_wei


async def test_an_urgent_transaction_does_not_wait_for_one_that_waits_for_cheaper_gas(
    autojump_clock: MockClock, world: World
) -> None:
    world.chain.base = 150 * GWEI
    async with world.running() as sender, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, TO, tag(1))
        await trio.sleep(10)
        with trio.fail_after(60):
            await sender.send(TO, tag(2), urgent=True)
        nursery.cancel_scope.cancel()
    assert world.chain.effects() == {tag(2): 1}


async def test_a_kill_between_writing_down_and_sending_sends_once_under_the_same_nonce(
    autojump_clock: MockClock, world: World
) -> None:
    about_to_send = trio.Event()

    async def never(_send: object) -> bytes:
        about_to_send.set()
        await trio.sleep_forever()
        return b""

    async with world.running() as sender, trio.open_nursery() as nursery:
        world.rpc.tell = never  # type: ignore[method-assign, assignment]
        nursery.start_soon(sender.send, TO, tag(1))
        await about_to_send.wait()
        nursery.cancel_scope.cancel()
    assert not world.chain.seen
    world.kill()
    del world.rpc.tell
    async with world.running():
        await until(lambda: world.chain.effects() == {tag(1): 1})
    assert {one.nonce for one in world.chain.seen} == {0}


async def test_a_kill_after_sending_does_not_send_twice_when_the_caller_repeats_itself(
    autojump_clock: MockClock, world: World
) -> None:
    world.chain.tip_needed = 10**12
    async with world.running() as sender, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, TO, tag(1))
        await until(lambda: bool(world.chain.pool))
        nursery.cancel_scope.cancel()
    world.kill()
    world.chain.tip_needed = 0
    async with world.running() as sender:
        with trio.fail_after(120):
            assert (await sender.send(TO, tag(1))).succeeded
        await trio.sleep(20 * BLOCK_S)
    assert world.chain.effects() == {tag(1): 1}


async def test_what_was_mined_while_the_node_was_down_is_not_counted_as_on_its_way(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.running() as sender, trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, TO, tag(1))
        await until(lambda: bool(world.chain.pool))
        nursery.cancel_scope.cancel()
    world.kill()
    await trio.sleep(5 * BLOCK_S)
    async with world.running() as sender:
        assert await sender.unmined() == 0
        assert (await sender.send(TO, tag(2))).succeeded
    assert world.chain.effects() == {tag(1): 1, tag(2): 1}


async def test_minutes_without_the_chain_lose_nothing(autojump_clock: MockClock, world: World) -> None:
    async with world.running() as sender:
        world.background.start_soon(_cut_after_the_send, world)
        with pytest.raises(Unavailable):
            await sender.send(TO, tag(1))
        await trio.sleep(300)
        world.rpc.cut = False
        await until(lambda: world.chain.effects() == {tag(1): 1})
        assert await sender.unmined() == 0


async def _cut_after_the_send(world: World) -> None:
    world.chain.tip_needed = 10**12
    await until(lambda: bool(world.chain.pool))
    world.rpc.cut = True
    world.chain.pool.clear()
    world.chain.tip_needed = 0


async def test_a_nonce_that_another_program_took_is_recognised_and_the_act_done_under_another(
    autojump_clock: MockClock, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.chain.tip_needed = 10**12
    async with world.running() as sender:
        world.background.start_soon(_another_program, world)
        with trio.fail_after(600):
            assert (await sender.send(TO, tag(1))).succeeded
        assert await sender.unmined() == 0
    assert world.chain.effects() == {tag(1): 1, b"foreign": 1}
    assert "another program uses this account's key" in caplog.text


async def test_a_signer_that_refuses_to_make_a_displaced_one_anew_ends_nothing_else(
    autojump_clock: MockClock, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal means "nothing was sent" to whoever asked; it must not be heard by those who wait for another one."""

    real = KEY

    class Limited:
        account, refusing = real.account, True

        async def sign(self, asked: UnsignedTransaction) -> SignedTransaction:
            if self.refusing and asked.data == tag(1) and asked.nonce:
                raise InvalidRequest("enough for today", code="deposit_limit")
            return await real.sign(asked)

    signer = Limited()
    monkeypatch.setattr("tests.unit.ledger.test_evm_flights.KEY", signer)
    world.chain.tip_needed = 10**12
    async with world.running() as sender:
        world.background.start_soon(_another_program, world)
        world.background.start_soon(sender.send, TO, tag(1))
        await until(lambda: "enough for today" in sender.view().waiting)
        assert (await sender.send(TO, tag(2))).succeeded
        signer.refusing = False
        await until(lambda: world.chain.effects() == {tag(1): 1, tag(2): 1, b"foreign": 1})


async def test_a_nonce_that_another_program_left_unused_is_filled(autojump_clock: MockClock, world: World) -> None:
    world.chain.tip_needed = 10**12
    async with world.running() as sender:
        foreign = UnsignedTransaction(
            chain_id=CHAIN_ID, nonce=0, to=TO, data=b"foreign", value=0, gas=10**5, fee_cap=10**9, tip_cap=1
        )
        world.chain.send((await KEY.sign(foreign)).raw)
        world.background.start_soon(sender.send, TO, tag(1))
        await until(lambda: 1 in world.chain.pool)
        del world.chain.pool[0]
        world.chain.tip_needed = 0
        await until(lambda: world.chain.effects() == {b"": 1, tag(1): 1})


async def test_what_a_fork_took_back_is_not_done_a_second_time_by_a_caller_that_misses_it(
    autojump_clock: MockClock, world: World
) -> None:
    async with world.running() as sender:
        await sender.send(TO, tag(1))
        world.chain.tip_needed = 10**12
        world.chain.reorganise(3, forget=True)
        with pytest.raises(Unavailable) as refused:
            await sender.send(TO, tag(1))
        assert refused.value.code == "reorganised"
        world.chain.tip_needed = 0
        await until(lambda: world.chain.effects() == {tag(1): 1})
        assert (await sender.send(TO, tag(2))).succeeded


async def _another_program(world: World) -> None:
    await until(lambda: bool(world.chain.pool))
    world.chain.pool.clear()
    foreign = UnsignedTransaction(
        chain_id=CHAIN_ID, nonce=0, to=TO, data=b"foreign", value=0, gas=10**5, fee_cap=10**13, tip_cap=10**12
    )
    world.chain.send((await KEY.sign(foreign)).raw)
    world.chain.mine()
    world.chain.tip_needed = 0


async def test_what_is_final_is_forgotten(autojump_clock: MockClock, world: World) -> None:
    async with world.running() as sender:
        await sender.send(TO, tag(1))
        await trio.sleep(20 * BLOCK_S)
    outbox = Outbox(world.journal, chain_id=CHAIN_ID, account=KEY.account, now_ms=lambda: 1)
    await outbox.load()
    assert outbox.open() == []
    assert outbox.next_nonce == 1


async def test_what_an_old_copy_of_the_journal_holds_is_not_done_again_when_its_nonce_is_used(
    autojump_clock: MockClock, world: World
) -> None:
    # It may have been mined in a dearer form that the copy does not know.
    world.chain.tip_needed = 3 * GWEI // 2
    async with world.running() as sender:
        world.background.start_soon(sender.send, TO, tag(1))
        await until(lambda: bool(world.chain.pool))
        copy = world.journal.crash()
        world.journal._crashed = False  # Only copied: it goes on.
        await until(lambda: world.chain.effects() == {tag(1): 1})
    world.journal = copy
    await copy.append([NewEntry(stream=OLD_COPY, kind="no_end_mark", at_ms=1, body=b"")])
    async with world.running() as sender:
        await trio.sleep(60 * BLOCK_S)
        assert await sender.unmined() == 0
    assert world.chain.effects() == {tag(1): 1}


async def test_a_single_endpoint_does_not_talk_us_into_a_payment_that_did_not_happen(
    autojump_clock: MockClock, world: World
) -> None:
    world.chain.tip_needed = 10**12
    done: list[object] = []

    async def send(sender: EvmSender) -> None:
        done.append(await sender.send(TO, tag(1)))

    async with world.running() as sender:
        world.background.start_soon(send, sender)
        await until(lambda: bool(world.chain.pool))
        world.rpc.liar = ScriptedChain()
        world.rpc.liar.pool = dict(world.chain.pool)
        world.rpc.liar.mine()
        world.rpc.liar.blocks += [()] * 20
        await trio.sleep(60)
        assert not done
        world.chain.tip_needed = 0
        world.rpc.liar = None
        await until(lambda: bool(done))
    assert world.chain.effects() == {tag(1): 1}


async def test_nothing_is_done_again_before_the_other_s_transaction_is_final(
    autojump_clock: MockClock, world: World
) -> None:
    # Else a fork could let both happen: the one of the old nonce, and the one that does it again.
    world.chain.tip_needed = 10**12
    async with world.running() as sender:
        world.background.start_soon(_another_program, world)
        world.background.start_soon(sender.send, TO, tag(1))
        await until(lambda: b"foreign" in world.chain.effects())
        await trio.sleep((POLICY.final_after - 2) * BLOCK_S)
        assert {one.nonce for one in world.chain.seen} == {0}
        await until(lambda: world.chain.effects() == {tag(1): 1, b"foreign": 1})


async def test_a_request_that_arrives_twice_is_one_transaction(autojump_clock: MockClock, world: World) -> None:
    # As a proxy does that tries again: the second time the chain says "already known".
    world.rpc.repeat = lambda: True
    sender = EvmSender(world.rpc, KEY, chain_id=CHAIN_ID, policy=POLICY)  # type: ignore[arg-type]
    assert (await sender.send(TO, tag(1))).succeeded
    await trio.sleep(20 * BLOCK_S)
    assert world.chain.effects() == {tag(1): 1}


async def test_a_nonce_that_the_pool_forgot_is_not_given_to_another_transaction(
    autojump_clock: MockClock, world: World
) -> None:
    world.chain.tip_needed = 10**12
    async with world.running() as sender:
        world.background.start_soon(sender.send, TO, tag(1))
        await until(lambda: bool(world.chain.pool))
        world.chain.pool.clear()
        world.background.start_soon(sender.send, TO, tag(2))
        await until(lambda: len({one.data for one in world.chain.seen}) == 2)
        world.chain.tip_needed = 0
        await until(lambda: world.chain.effects() == {tag(1): 1, tag(2): 1})
