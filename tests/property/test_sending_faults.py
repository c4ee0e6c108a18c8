"""Random faults between an account and its chain: each intended transaction happens once, and none above its cap.

A script of faults follows from one number, which is printed when it fails. Requests and answers are lost, late or
repeated; blocks are taken back, pools forget, gas gets dear, another program uses the key, the process is killed.
"""

from __future__ import annotations

from random import Random

import pytest
import trio
from hypothesis import given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ledger.evm_sender import EvmSender, SendPolicy
from ledger.gas_fees import GWEI
from ledger.outbox import Outbox
from ledger.transaction_signing import KeySigner, UnsignedTransaction
from market.errors import Unavailable
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.scripted_chain import BLOCK_S, CHAIN_ID, ScriptedChain, ScriptedRpc, tag

KEY = KeySigner(b"\x31" * 32)
TO = b"\x32" * 20
POLICY = SendPolicy(
    confirmations=1,
    final_after=6,
    poll_ms=500,
    fee_cap_wei=100 * GWEI,
    urgent_cap_wei=300 * GWEI,
    bump_after_s=10,
    patience_s=20,
    fee_patience_s=60,
)
INTENDED = 5
STORM_S = 240
CALM_S = 3_600
MOST_FORK = 3


class Storm:
    """One run: a chain, five intended transactions, and trouble."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.chain = ScriptedChain()
        self.rpc = ScriptedRpc(self.chain)
        self.journal = MemoryJournal()
        self.calm = False
        self.foreign = 0
        self.done: set[int] = set()
        self.rpc.before = self.rpc.after = self._fault
        self.rpc.repeat = lambda: not self.calm and self.random.random() < 0.1

    def _fault(self) -> float:
        if self.calm:
            return 0.0
        luck = self.random.random()
        if luck < 0.12:
            raise Unavailable("lost", code="chain_unreachable")
        return self.random.uniform(0, 5) if luck < 0.3 else 0.0

    async def weather(self) -> None:
        """Make trouble for a while, then never again."""
        with trio.move_on_after(STORM_S):
            while True:
                await trio.sleep(self.random.uniform(1, 12))
                await self.random.choice((self.fork, self.forget, self.spike, self.outage, self.foreigner))()
        self.calm, self.rpc.cut = True, False
        self.chain.base, self.chain.tip_needed = 10 * GWEI, 0

    async def fork(self) -> None:
        self.chain.reorganise(self.random.randint(1, MOST_FORK), forget=self.random.random() < 0.5)

    async def forget(self) -> None:
        self.chain.pool.clear()

    async def spike(self) -> None:
        self.chain.base = self.random.choice((10, 90, 250, 5_000)) * GWEI
        self.chain.tip_needed = self.random.choice((0, 2, 20)) * GWEI

    async def outage(self) -> None:
        self.rpc.cut = True
        await trio.sleep(self.random.uniform(1, 60))
        self.rpc.cut = False

    async def foreigner(self) -> None:
        """Another program sends with the same key, dear enough to be mined at once."""
        if self.foreign >= 3:
            return
        self.foreign += 1
        sent = UnsignedTransaction(
            chain_id=CHAIN_ID,
            nonce=self.chain.count(),
            to=TO,
            data=b"foreign",
            value=0,
            gas=50_000,
            fee_cap=10**15,
            tip_cap=10**14,
        )
        # Deep enough at once: what of another program's a fork may take back is its own affair.
        self.chain.pool.pop(sent.nonce, None)
        self.chain.send((await KEY.sign(sent)).raw)
        self.chain.mine()
        self.chain.blocks += [()] * (MOST_FORK + 1)

    async def life(self) -> None:
        """One process: goes on with what the last one left, and does what is not done yet."""
        outbox = Outbox(self.journal, chain_id=CHAIN_ID, account=KEY.account, now_ms=lambda: 1)
        sender = EvmSender(self.rpc, KEY, chain_id=CHAIN_ID, policy=POLICY, outbox=outbox)  # type: ignore[arg-type]
        await sender.resume()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.keep)
            async with trio.open_nursery() as work:
                for number in range(INTENDED):
                    if number not in self.done:
                        work.start_soon(self.act, sender, number)
            nursery.cancel_scope.cancel()

    async def act(self, sender: EvmSender, number: int) -> None:
        """As the payer does with a deposit: look whether it happened, and send only when nothing is on its way."""
        await trio.sleep(self.random.uniform(0, 60))
        while True:
            try:
                if await sender.unmined():
                    await trio.sleep(BLOCK_S)
                    continue
                if self.chain.effects()[tag(number)]:
                    break
                assert (await sender.send(TO, tag(number), urgent=number == 0)).succeeded
                break
            except Unavailable:
                await trio.sleep(BLOCK_S)
        self.done.add(number)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.chain.run)
            nursery.start_soon(self.weather)
            while len(self.done) < INTENDED:
                kill_after = self.random.uniform(5, 120) if not self.calm else CALM_S
                with trio.move_on_after(kill_after):
                    await self.life()
                self.journal = self.journal.crash(keep_in_flight=self.random.random() < 0.5)
            while not self.calm:
                await trio.sleep(1)
            with trio.move_on_after(60 * BLOCK_S):
                # A last life only keeps an eye on what may have been taken back.
                outbox = Outbox(self.journal, chain_id=CHAIN_ID, account=KEY.account, now_ms=lambda: 1)
                last = EvmSender(self.rpc, KEY, chain_id=CHAIN_ID, policy=POLICY, outbox=outbox)  # type: ignore[arg-type]
                await last.resume()
                await last.keep()
            nursery.cancel_scope.cancel()


def check(storm: Storm) -> None:
    effects = storm.chain.effects()
    happened = {number: effects[tag(number)] for number in range(INTENDED)}
    assert happened == dict.fromkeys(range(INTENDED), 1), happened
    ours = [sent for sent in storm.chain.seen if sent.data != b"foreign"]
    dearest = max(sent.fee_cap for sent in ours)
    assert dearest <= POLICY.urgent_cap_wei, dearest
    assert all(sent.tip_cap <= sent.fee_cap for sent in ours)


def weathered(seed: int) -> Storm:
    storm = Storm(seed)
    trio.run(storm.run, clock=MockClock(autojump_threshold=0))
    return storm


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_intended_transaction_happens_once_whatever_goes_wrong(seed: int) -> None:
    note(f"the script of faults is number {seed}")
    check(weathered(seed))


@pytest.mark.parametrize("seed", range(5))
def test_the_storms_are_storms(seed: int) -> None:
    storm = weathered(seed)
    # Otherwise the property above would hold by never having been tried.
    assert len(storm.chain.seen) > INTENDED
