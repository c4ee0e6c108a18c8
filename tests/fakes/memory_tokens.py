"""The ``TokenAccount`` port on the chain in memory."""

from __future__ import annotations

from ledger.ports import ChainHead, Transaction
from ledger.token_account import TokenTransfer
from market.errors import InvalidRequest
from tests.fakes.escrow_model import EscrowModel, Event, RevertError
from tests.fakes.memory_chain import GAS_PRICE, MemoryChainView

TOKEN = b"\x70" * 20
_GAS = 52_000


class MemoryTokens:
    """The tokens of the account behind ``chain``; its faults (``offline``, ``answers_to_lose``) are the chain's.

    Attributes:
        sent: how many transfers were asked for, also those that failed.
        eats_transfers: the token takes the call and moves nothing.
    """

    def __init__(self, chain: MemoryChainView) -> None:
        self.account = chain.account
        self.token = TOKEN
        self.sent = 0
        self.eats_transfers = False
        self._chain = chain

    async def head(self) -> ChainHead:
        return await self._chain.head()

    async def gas_price(self) -> int:
        await self._chain._reach()
        return GAS_PRICE

    async def allowance(self, owner: bytes, spender: bytes) -> int:
        await self._chain._reach()
        world = self._chain._world
        return world.state_at(world.head_number()).model.allowances.get(owner, 0)

    async def token_balance(self, account: bytes) -> int:
        return await self._chain.token_balance(account)

    async def unmined(self) -> int:
        return await self._chain.unmined()

    async def transfer(self, to: bytes, amount: int) -> Transaction:
        self.sent += 1
        if await self._chain.gas_balance(self.account) < _GAS * GAS_PRICE:
            raise InvalidRequest("the account cannot pay for gas", code="gas_short")
        return await self._chain._send(_GAS, lambda model, _now: self._move(model, to, amount))

    async def transfers_since(self, to: bytes, from_block: int) -> tuple[list[TokenTransfer], ChainHead]:
        head = await self._chain.head()
        logged = await self._chain.events(from_block, head.number)
        found = [
            TokenTransfer(to=to, amount=int(str(one.arguments["value"])), transaction=one.transaction, block=one.block)
            for one in logged
            if one.kind == "Transfer" and (one.arguments["from"], one.arguments["to"]) == (self.account, to)
        ]
        return found, head

    def _move(self, model: EscrowModel, to: bytes, amount: int) -> list[Event]:
        if self.eats_transfers:
            return []
        if model.tokens.get(self.account, 0) < amount:
            raise RevertError("ERC20InsufficientBalance")
        model._move(self.account, to, amount)
        return [("Transfer", {"from": self.account, "to": to, "value": amount})]
