"""Deposits that need no approval sent before them: the wallet signs a permit for just this amount.

An approval is a transaction of its own and stands until it is used up. A permit is a signature inside the deposit, for
this deposit only. Where the token knows no permits, or the escrow may take enough already, the deposit is an ordinary
one.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from ledger.ports import Chain, Transaction
from ledger.token_account import TokenAccount
from ledger.token_signatures import permit_digest
from market.errors import InvalidRequest

_VALID_S = 3_600


class PermitSigner(Protocol):
    """The account whose tokens are deposited. ``sign`` gives a compact signature over a 32-byte digest."""

    @property
    def address(self) -> bytes: ...
    def sign(self, digest: bytes) -> bytes: ...


class PermitDeposits:
    """A ``Chain`` that is another one in all but :meth:`deposit`."""

    def __init__(self, chain: Chain, tokens: TokenAccount, wallet: PermitSigner) -> None:
        self._chain = chain
        self._tokens = tokens
        self._wallet = wallet

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    async def way(self, amount: int) -> str:
        """How a deposit would be made now: ``allowance``, ``permit``, or ``approval`` (two transactions)."""
        if await self._tokens.allowance(self._wallet.address, self._chain.escrow) >= amount:
            return "allowance"
        try:
            await self._chain.token_domain()
        except InvalidRequest as error:
            if error.code != "no_token_signatures":
                raise
            return "approval"
        return "permit"

    async def deposit(self, payee: bytes, signer: bytes, amount: int) -> Transaction:
        """Fund our own lane, with a permit where that saves an approval.

        Raises:
            InvalidRequest: ``tokens_short`` or ``gas_short``; nothing was sent.
        """
        if await self.way(amount) != "permit":
            return await self._chain.deposit(payee, signer, amount)
        deadline_s = (await self._chain.head()).timestamp + _VALID_S
        owner = self._wallet.address
        digest = permit_digest(
            await self._chain.token_domain(),
            owner=owner,
            spender=self._chain.escrow,
            value=amount,
            nonce=await self._chain.permit_nonce(owner),
            deadline_s=deadline_s,
        )
        permit = self._wallet.sign(digest)
        return await self._chain.deposit_with_permit(payee, signer, amount, deadline_s=deadline_s, permit=permit)


def with_permits(chain: Chain, tokens: TokenAccount, wallet: PermitSigner) -> tuple[Chain, PermitDeposits]:
    """The chain with :class:`PermitDeposits` in front: as the port, and as itself."""
    permits = PermitDeposits(chain, tokens, wallet)
    return cast("Chain", permits), permits
