"""A settlement chain in memory: blocks come with the clock, no thread, no randomness, no task of its own.

:class:`MemoryChain` is the world; :meth:`MemoryChain.view` is the ``Chain`` port of one account in it. Block
``n`` has the time ``start + n * block_ms`` of the injected clock; what is sent now is executed at the next
block, in order of sending. Waiting uses ``trio.sleep``, so under ``MockClock`` a confirmation takes virtual
time only. Faults are knobs on the view (what one node sees) and on the world (what happened to the chain).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from ledger.create2 import delay_terms
from ledger.ports import ChainHead, LedgerEvent, Transaction
from ledger.voucher import Domain
from tests.fakes.escrow_model import EscrowModel, RevertError
from tests.fakes.memory_chain_view import GAS_PRICE, Effect, MemoryChainView

_KEPT_STATES = 64


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
        exit_delay_s: the window of a lane whose payer chose none, in steps of ``delay_step_s``.
    """

    def __init__(self, clock: Clock, *, chain_id: int = 31337, exit_delay_s: int = 3600, block_ms: int = 1000) -> None:
        self.domain = Domain(chain_id, hashlib.sha256(b"escrow").digest()[:20])
        self.exit_delay_s = exit_delay_s
        self.delay_step_s = delay_terms(exit_delay_s).step_s
        self.block_ms = block_ms
        self._clock = clock
        self._start_ms = clock.now_ms()
        self._pending: list[tuple[int, _Pending]] = []
        self._states = [_State(0, EscrowModel(self.domain, exit_delay_s, self.delay_step_s))]
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
