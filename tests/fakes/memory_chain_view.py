"""What one account sees of a :class:`tests.fakes.memory_chain.MemoryChain`, with the faults that one node may meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from ledger.create2 import MAX_STEPS
from ledger.ports import (
    ChainHead,
    Contradiction,
    LaneDeposit,
    LaneKey,
    LaneOnChain,
    LedgerEvent,
    Stake,
    TokenDomain,
    Transaction,
)
from ledger.voucher import ROW_BYTES
from market.errors import InvalidRequest, Unavailable
from tests.fakes.escrow_model import EscrowModel, Event, RevertError

if TYPE_CHECKING:
    from tests.fakes.memory_chain import MemoryChain

GAS_PRICE = 10**9
_GAS = {
    "approve": 46_000,
    "deposit": 72_000,
    "deposit_signed": 101_000,
    "deposit_many": 35_000,
    "deposit_more": 30_000,
    "redeem": 41_000,
    "row": 10_300,
    "start_exit": 30_000,
    "cancel_exit": 28_000,
    "finish_exit": 65_000,
    "close_together": 86_000,
    "release": 53_000,
    "add_stake": 67_000,
    "leave_stake": 29_000,
    "take_stake": 40_000,
    "slash": 108_000,
}
Effect = Callable[[EscrowModel, int], list[Event]]
"""``effect(model, block_time_s) -> events``; raises ``RevertError``."""


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

    @property
    def delay_step_s(self) -> int:
        return self._world.delay_step_s

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
        key = LaneKey(self.account, payee, signer)
        return await self._pay(_GAS["deposit"], amount, lambda m, now: m.deposit(self.account, key, amount))

    async def deposit_many(self, deposits: Sequence[LaneDeposit]) -> Transaction:
        kept = list(deposits)
        for one in kept:
            steps, rest = divmod(one.delay_s, self.delay_step_s)
            if rest or steps > MAX_STEPS:
                raise InvalidRequest("a delay that cannot be had from this escrow", code="exit_delay")
        gas = _GAS["deposit_many"] + _GAS["deposit_more"] * len(kept)
        whole = sum(one.amount for one in kept)
        return await self._pay(gas, whole, lambda m, now: m.deposit_many(self.account, kept))

    async def token_domain(self) -> TokenDomain:
        await self._reach()
        return self._world.state_at(self._world.head_number()).model.token_domain

    async def permit_nonce(self, owner: bytes) -> int:
        await self._reach()
        return self._world.state_at(self._world.head_number()).model.permits.get(owner, 0)

    async def deposit_with_permit(
        self, payee: bytes, signer: bytes, amount: int, *, deadline_s: int, permit: bytes
    ) -> Transaction:
        await self._require_tokens(amount)
        key = LaneKey(self.account, payee, signer)

        def effect(model: EscrowModel, now_s: int) -> list[Event]:
            return model.deposit_with_permit(
                self.account, key, amount, deadline_s=deadline_s, permit=permit, now_s=now_s
            )

        return await self._send(_GAS["deposit_signed"], effect)

    async def deposit_with_authorization(
        self, lane: LaneKey, amount: int, *, until_s: int, salt: bytes, authorization: bytes
    ) -> Transaction:
        def effect(model: EscrowModel, now_s: int) -> list[Event]:
            return model.deposit_with_authorization(
                self.account, lane, amount, until_s=until_s, salt=salt, signature=authorization, now_s=now_s
            )

        return await self._send(_GAS["deposit_signed"], effect)

    async def preview_redeem(self, payee: bytes, rows: bytes) -> int:
        await self._reach()
        model = self._world.state_at(self._world.head_number()).model.copy()
        before = model.tokens.get(payee, 0)
        model.redeem_many(payee, [rows[at : at + ROW_BYTES] for at in range(0, len(rows), ROW_BYTES)])
        return model.tokens.get(payee, 0) - before

    async def redeem_many(self, payee: bytes, rows: Sequence[bytes], *, urgent: bool = False) -> Transaction:
        kept = list(rows)
        gas = _GAS["redeem"] + _GAS["row"] * len(kept)
        return await self._send(gas, lambda m, now: m.redeem_many(payee, kept))

    async def redeem_to(self, to: bytes, rows: Sequence[bytes]) -> Transaction:
        kept = list(rows)
        gas = _GAS["redeem"] + _GAS["row"] * len(kept)
        return await self._send(gas, lambda m, now: m.redeem_many(self.account, kept, to=to))

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

    async def release(
        self, payee: bytes, signer: bytes, *, new_balance: int, deadline_s: int, payee_signature: bytes
    ) -> Transaction:
        def effect(model: EscrowModel, now_s: int) -> list[Event]:
            return model.release(
                self.account,
                payee,
                signer,
                new_balance=new_balance,
                deadline_s=deadline_s,
                payee_signature=payee_signature,
                now_s=now_s,
            )

        return await self._send(_GAS["release"], effect)

    async def stake_of(self, provider: bytes, *, confirmations: int = 0) -> Stake:
        await self._reach()
        return self._world.state_at(self._world.head_number() - confirmations).model.stakes.of(provider)

    async def add_stake(self, amount: int) -> Transaction:
        return await self._pay(_GAS["add_stake"], amount, lambda m, now: m.add_stake(self.account, amount))

    async def leave_stake(self) -> Transaction:
        return await self._send(_GAS["leave_stake"], lambda m, now: m.leave_stake(self.account, now))

    async def take_stake(self) -> Transaction:
        return await self._send(_GAS["take_stake"], lambda m, now: m.take_stake(self.account, now))

    async def slash_equivocation(self, proof: Contradiction) -> Transaction:
        return await self._send(_GAS["slash"], lambda m, now: m.slash(self.account, proof))

    async def events(self, from_block: int, to_block: int) -> list[LedgerEvent]:
        await self._reach()
        state = self._world.state_at(self._world.head_number())
        return [e for e in state.events if from_block <= e.block <= to_block]

    async def _require_tokens(self, amount: int) -> None:
        if await self.token_balance(self.account) < amount:
            raise InvalidRequest("the account holds fewer tokens than it is to pay in", code="tokens_short")

    async def _pay(self, gas: int, amount: int, effect: Effect) -> Transaction:
        """As ``_send``, with the approval that goes before when it is needed, in one go."""
        await self._require_tokens(amount)

        def approve_first(model: EscrowModel, now_s: int) -> list[Event]:
            if model.allowances.get(self.account, 0) < amount:
                model.approve(self.account)
            return effect(model, now_s)

        return await self._send(gas, approve_first)

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
