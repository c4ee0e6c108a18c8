"""A settlement chain in memory: blocks come with the clock, no thread, no randomness, no task of its own.

:class:`MemoryChain` is the world; :meth:`MemoryChain.view` is the ``Chain`` port of one account in it. Block
``n`` has the time ``start + n * block_ms`` of the injected clock; what is sent now is executed at the next
block, in order of sending. Waiting uses ``trio.sleep``, so under ``MockClock`` a confirmation takes virtual
time only. Faults are knobs on the view (what one node sees) and on the world (what happened to the chain).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import trio

from ledger.ports import ChainHead, LaneKey, LaneOnChain, LedgerEvent, Transaction
from ledger.voucher import Domain
from market.errors import InvalidRequest, Unavailable
from tests.fakes.escrow_model import EscrowModel, Event, RevertError

GAS_PRICE = 10**9
_GAS = {
    "approve": 46_000,
    "deposit": 72_000,
    "redeem": 41_000,
    "row": 10_300,
    "start_exit": 30_000,
    "cancel_exit": 28_000,
    "finish_exit": 65_000,
    "close_together": 86_000,
}
_KEPT_STATES = 64
Effect = Callable[[EscrowModel, int], list[Event]]
"""``effect(model, block_time_s) -> events``; raises ``RevertError``."""


class Clock(Protocol):
    """UTC time that moves together with trio's clock."""

    def now_ms(self) -> int: ...


@dataclass
class _Pending:
    hash: bytes
    sender: bytes
    gas: int
    effect: Effect


@dataclass
class _State:
    """Everything a block changes. One is kept per block that held a transaction, so that a reorg can go
    back."""

    block: int
    model: EscrowModel
    gas: dict[bytes, int] = field(default_factory=dict)
    mined: dict[bytes, tuple[Transaction, _Pending]] = field(default_factory=dict)
    events: list[LedgerEvent] = field(default_factory=list)

    def next(self, block: int) -> _State:
        return _State(block, self.model.copy(), dict(self.gas), dict(self.mined), list(self.events))


class MemoryChain:
    """One chain with one escrow and its token, shared by all nodes of a test.

    Attributes:
        domain: chain id and escrow address, as vouchers name them.
        exit_delay_s: the escrow's exit window.
    """

    def __init__(self, clock: Clock, *, chain_id: int = 31337, exit_delay_s: int = 3600, block_ms: int = 1000) -> None:
        self.domain = Domain(chain_id, hashlib.sha256(b"escrow").digest()[:20])
        self.exit_delay_s = exit_delay_s
        self.block_ms = block_ms
        self._clock = clock
        self._start_ms = clock.now_ms()
        self._pending: list[tuple[int, _Pending]] = []
        self._states = [_State(0, EscrowModel(self.domain, exit_delay_s))]
        self._forks: list[int] = []
        self._sent = 0

    def view(self, account: bytes, *, confirmations: int = 1) -> MemoryChainView:
        """The ``Chain`` port as ``account`` sees it. A send returns with ``confirmations`` blocks on top of
        its own."""
        return MemoryChainView(self, account, confirmations)

    def mint(self, account: bytes, amount: int) -> None:
        """Give ``account`` token units, as the faucet of a devnet does."""
        self._now().model.mint(account, amount)

    def give_gas(self, account: bytes, wei: int = 10**18) -> None:
        """Give ``account`` the chain's own coin."""
        gas = self._now().gas
        gas[account] = gas.get(account, 0) + wei

    def reorg(self, depth: int) -> None:
        """Throw the last ``depth`` blocks away. Their transactions go back to the pool and are mined in the
        next block."""
        head, states = self.head_number(), self._states
        newest = self._now()
        kept = [s for s in states if s.block <= head - depth]
        if not kept:
            raise ValueError("a reorg deeper than what this chain remembers")
        self._states = kept
        lost = [mined for hash, (_, mined) in newest.mined.items() if hash not in kept[-1].mined]
        self._pending = [(head + 1, again) for again in lost] + self._pending
        self._forks.append(head - depth)

    def head_number(self) -> int:
        return (self._clock.now_ms() - self._start_ms) // self.block_ms

    def head(self, number: int | None = None) -> ChainHead:
        number = self.head_number() if number is None else number
        forks = sum(1 for base in self._forks if base < number)
        return ChainHead(
            number=number,
            hash=hashlib.sha256(b"block %d %d" % (number, forks)).digest(),
            timestamp=self._time_s(number),
        )

    def state_at(self, number: int) -> _State:
        self._now()
        older = [s for s in self._states if s.block <= number]
        return older[-1] if older else self._states[0]

    def send(self, sender: bytes, gas: int, effect: Effect) -> bytes:
        """Put a transaction into the pool and return its hash. It is executed in the next block."""
        self._now()
        self._sent += 1
        hash = hashlib.sha256(b"transaction %d " % self._sent + sender).digest()
        self._pending.append((self.head_number() + 1, _Pending(hash, sender, gas, effect)))
        return hash

    def unmined(self, sender: bytes) -> int:
        """How many transactions of ``sender`` wait in the pool."""
        self._now()
        return sum(1 for _, pending in self._pending if pending.sender == sender)

    def seconds_to_block(self, number: int) -> float:
        return max(0, self._start_ms + number * self.block_ms - self._clock.now_ms()) / 1000

    def _now(self) -> _State:
        head = self.head_number()
        due = [entry for entry in self._pending if entry[0] <= head]
        self._pending = [entry for entry in self._pending if entry[0] > head]
        for number, pending in due:
            if self._states[-1].block < number:
                self._states.append(self._states[-1].next(number))
            self._execute(self._states[-1], pending)
        del self._states[:-_KEPT_STATES]
        return self._states[-1]

    def _execute(self, state: _State, pending: _Pending) -> None:
        before = state.model.copy()
        try:
            events = pending.effect(state.model, self._time_s(state.block))
        except RevertError:
            state.model, events = before, []
            succeeded = False
        else:
            succeeded = True
        state.gas[pending.sender] = state.gas.get(pending.sender, 0) - pending.gas * GAS_PRICE
        mined = Transaction(hash=pending.hash, block=state.block, succeeded=succeeded, gas_used=pending.gas)
        state.mined[pending.hash] = (mined, pending)
        first = sum(1 for e in state.events if e.block == state.block)
        for index, (kind, arguments) in enumerate(events, first):
            state.events.append(
                LedgerEvent(kind=kind, block=state.block, index=index, transaction=pending.hash, arguments=arguments)
            )

    def _time_s(self, number: int) -> int:
        return (self._start_ms + number * self.block_ms) // 1000


class MemoryChainView:
    """The ``Chain`` port of one account.

    Attributes:
        offline: while True every call raises ``Unavailable``.
        answers_to_lose: so many of the next sends reach the chain but raise ``Unavailable``. This is the
            case in which a node that simply tries again pays twice.
    """

    def __init__(self, world: MemoryChain, account: bytes, confirmations: int) -> None:
        self.account = account
        self.offline = False
        self.answers_to_lose = 0
        self._world = world
        self._confirmations = confirmations

    @property
    def chain_id(self) -> int:
        return self._world.domain.chain_id

    @property
    def escrow(self) -> bytes:
        return self._world.domain.escrow

    @property
    def exit_delay_s(self) -> int:
        return self._world.exit_delay_s

    async def head(self) -> ChainHead:
        await self._reach()
        return self._world.head()

    async def lane(self, key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        await self._reach()
        return self._world.state_at(self._world.head_number() - confirmations).model.lane(key)

    async def token_balance(self, account: bytes) -> int:
        await self._reach()
        return self._world.state_at(self._world.head_number()).model.tokens.get(account, 0)

    async def gas_balance(self, account: bytes) -> int:
        await self._reach()
        return self._world.state_at(self._world.head_number()).gas.get(account, 0)

    async def transaction(self, transaction: bytes) -> Transaction | None:
        await self._reach()
        found = self._world.state_at(self._world.head_number()).mined.get(transaction)
        return found[0] if found else None

    async def unmined(self) -> int:
        await self._reach()
        return self._world.unmined(self.account)

    async def deposit(self, payee: bytes, signer: bytes, amount: int) -> Transaction:
        if await self.token_balance(self.account) < amount:
            raise InvalidRequest("the account holds fewer tokens than the deposit needs", code="tokens_short")
        key = LaneKey(self.account, payee, signer)
        return await self._send(_GAS["deposit"], lambda m, now: m.deposit(self.account, key, amount))

    async def redeem_many(self, payee: bytes, rows: Sequence[bytes]) -> Transaction:
        kept = list(rows)
        gas = _GAS["redeem"] + _GAS["row"] * len(kept)
        return await self._send(gas, lambda m, now: m.redeem_many(payee, kept))

    async def start_exit(self, payee: bytes, signer: bytes) -> Transaction:
        return await self._send(_GAS["start_exit"], lambda m, now: m.start_exit(self.account, payee, signer, now))

    async def cancel_exit(self, payee: bytes, signer: bytes) -> Transaction:
        return await self._send(_GAS["cancel_exit"], lambda m, now: m.cancel_exit(self.account, payee, signer))

    async def finish_exit(self, key: LaneKey) -> Transaction:
        return await self._send(_GAS["finish_exit"], lambda m, now: m.finish_exit(key, now))

    async def close_together(
        self,
        key: LaneKey,
        *,
        cumulative: int,
        deadline_s: int,
        payee_signature: bytes,
        payer_signature: bytes,
    ) -> Transaction:
        def effect(model: EscrowModel, now_s: int) -> list[Event]:
            return model.close_together(
                self.account,
                key,
                cumulative=cumulative,
                deadline_s=deadline_s,
                payee_signature=payee_signature,
                payer_signature=payer_signature,
                now_s=now_s,
            )

        return await self._send(_GAS["close_together"], effect)

    async def events(self, from_block: int, to_block: int) -> list[LedgerEvent]:
        await self._reach()
        state = self._world.state_at(self._world.head_number())
        return [e for e in state.events if from_block <= e.block <= to_block]

    async def _reach(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.offline:
            raise Unavailable("the chain at memory does not answer", code="chain_unreachable")

    async def _send(self, gas: int, effect: Effect) -> Transaction:
        await self._reach()
        world = self._world
        head = world.head()
        state = world.state_at(head.number)
        if state.gas.get(self.account, 0) < gas * GAS_PRICE:
            raise InvalidRequest("the account cannot pay for gas", code="gas_short")
        try:
            # A real node estimates gas first and so learns of a refusal before anything is spent.
            effect(state.model.copy(), head.timestamp)
        except RevertError:
            return Transaction(hash=bytes(32), block=head.number, succeeded=False, gas_used=0)
        hash = world.send(self.account, gas, effect)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise Unavailable("the chain at memory does not answer", code="chain_unreachable")
        return await self._confirmed(hash)

    async def _confirmed(self, hash: bytes) -> Transaction:
        while True:
            mined = await self.transaction(hash)
            head = self._world.head_number()
            if mined and head >= mined.block + self._confirmations:
                return mined
            wanted = mined.block + self._confirmations if mined else head + 1
            await trio.sleep(self._world.seconds_to_block(wanted))
