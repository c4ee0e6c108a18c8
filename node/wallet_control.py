"""What the owner may ask of the node's money: the second port that the API serves, beside :mod:`node.control`.

Everything that crosses it is plain data that JSON can hold; :mod:`node.wallet_shapes` has all shapes.
"""

from __future__ import annotations

from typing import Any, Protocol

from node.wallet_shapes import (
    DepositDone,
    DepositPlan,
    EarningsView,
    PayoutsView,
    StakeChange,
    StakeView,
    WalletLine,
    Withdrawal,
)


class WalletControl(Protocol):
    """Verbs on a running node's money. Each may raise the errors of :mod:`market.errors`. A provider is named by its
    node's key, the start of it, or the account it is paid on."""

    async def plan_deposit(self, provider: str, amount: str, *, sender: str = "") -> DepositPlan:
        """What depositing ``amount`` tokens would do and cost. Nothing is sent.

        Args:
            sender: the account that shall send the ready-made transactions, if it is known.
        """
        ...

    async def deposit(self, provider: str, amount: str) -> DepositDone:
        """Put tokens into the lane to a provider, and leave them there until :meth:`withdraw`."""
        ...

    async def withdraw(self, provider: str, *, alone: bool = False) -> Withdrawal:
        """Take the rest out of an idle lane: with the provider's consent at once, else by our exit. Asked again, it
        finishes an exit that is due. ``alone`` does not ask the provider."""
        ...

    async def wallet_history(self) -> list[WalletLine]:
        """Every movement of money in the journal, newest first."""
        ...

    async def payouts(self) -> PayoutsView: ...
    async def earnings(self, by: str) -> EarningsView:
        """What was earned as a provider, by ``day``, ``gpu`` or ``job``."""
        ...

    async def stake(self, provider: str = "") -> StakeView:
        """The stake of a provider, or our own."""
        ...

    async def add_stake(self, amount: str) -> StakeChange: ...
    async def leave_stake(self) -> StakeChange: ...
    async def take_stake(self) -> StakeChange: ...
    async def slash(self, proof: dict[str, Any]) -> StakeChange:
        """Show the escrow that a provider signed two different statements under one number. Half of its stake is
        destroyed, a quarter of that half goes to us."""
        ...
