"""What a wallet asks of the chain beside the escrow: its plain tokens, and the price of gas. A port.

``evm_tokens.py`` is the real adapter, ``tests/fakes/memory_tokens.py`` the fake; one suite in ``tests/ports`` runs on
both.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from ledger.ports import ChainHead, Transaction


class TokenTransfer(Struct, frozen=True, kw_only=True):
    """Tokens that left our account, as the token's own log has it."""

    to: bytes
    amount: int
    transaction: bytes
    block: int


class TokenAccount(Protocol):
    """The tokens of one account. Every call may raise ``market.errors.Unavailable``."""

    @property
    def account(self) -> bytes: ...
    @property
    def token(self) -> bytes: ...
    async def gas_price(self) -> int:
        """What a unit of gas costs now, in wei: the base fee and the usual tip."""
        ...

    async def allowance(self, owner: bytes, spender: bytes) -> int:
        """How many of the owner's tokens ``spender`` may take."""
        ...

    async def token_balance(self, account: bytes) -> int: ...
    async def unmined(self) -> int:
        """As ``Chain.unmined``: how many transactions of our account are on their way."""
        ...

    async def transfer(self, to: bytes, amount: int) -> Transaction:
        """Send tokens away. Nobody checks whether that was done before: the caller does.

        Raises:
            InvalidRequest: ``gas_short``; nothing was sent.
        """
        ...

    async def head(self) -> ChainHead: ...
    async def transfers_since(self, to: bytes, from_block: int) -> tuple[list[TokenTransfer], ChainHead]:
        """Our transfers to one account from a block on, oldest first, and the newest block that was looked at.

        Both are of one endpoint: an old log beside another's new block would make a transfer look as if it had never
        been.
        """
        ...
