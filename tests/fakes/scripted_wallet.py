"""Canned answers about money, for the API and the commands. Changes nothing but its list of calls."""

from __future__ import annotations

from typing import Any

from market.errors import InvalidRequest
from node.control import money, rfc3339
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

T0 = 1_700_000_000_000
PAYEE, PAYER, SIGNER, OWNER = ("0x" + digit * 40 for digit in "3254")
HASH = "0x" + "71" * 32
LANE: Any = {
    "payer": PAYER,
    "payee": PAYEE,
    "signer": SIGNER,
    "exit_at": None,
    "leases": 1,
    **{name: money(1_000_000) for name in ("balance", "claimed", "signed", "available", "held", "reserved")},
}
STAKE: StakeView = {"provider": PAYEE, "amount": money(50_000_000), "unlock_at": rfc3339(T0), "can_take": True}


class ScriptedWallet:
    """Answers as :class:`node.wallet_control.WalletControl` does.

    Attributes:
        calls: the verbs that would move money, with their arguments.
        fail: method name → error raised by it.
        returned: whether a withdrawal is finished at once.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}
        self.returned = True
        self.payout_to: str | None = OWNER

    async def plan_deposit(self, provider: str, amount: str, *, sender: str = "") -> DepositPlan:
        self._try("plan_deposit")
        if provider == "unknown":
            raise InvalidRequest("no such provider", code="not_found")
        return {
            "provider": "ab" * 32,
            "payee": PAYEE,
            "payer": PAYER,
            "signer": SIGNER,
            "amount": money(2_500_000),
            "tokens": money(12_000_000),
            "tokens_after": money(9_500_000),
            "lane_before": money(0),
            "lane_after": money(2_500_000),
            "way": "permit",
            "gas_cost": "230000000000000",
            "gas": "1000000000000000000",
            "exit_delay_s": 86_400,
            "transactions": [
                {"what": "approve", "to": "0x" + "70" * 20, "data": "0x095ea7b3", "value": "0", "chain_id": 31337,
                 "gas": 80_000},
                {"what": "deposit", "to": "0x" + "e5" * 20, "data": "0x8340f549", "value": "0", "chain_id": 31337,
                 "gas": 150_000},
            ],
        }  # fmt: skip

    async def deposit(self, provider: str, amount: str) -> DepositDone:
        self._try("deposit")
        self.calls.append(f"deposit {provider} {amount}")
        return {"transaction": HASH, "block": 7, "amount": money(2_500_000), "lane": LANE}

    async def withdraw(self, provider: str, *, alone: bool = False) -> Withdrawal:
        self._try("withdraw")
        self.calls.append(f"withdraw {provider}" + (" alone" if alone else ""))
        done = self.returned
        return {
            "payee": PAYEE,
            "transaction": HASH,
            "exit_at": None if done else rfc3339(T0),
            "finished": done,
            "together": done,
            "returned": money(2_500_000) if done else None,
        }

    async def wallet_history(self) -> list[WalletLine]:
        self._try("wallet_history")
        common: Any = {"time": rfc3339(T0), "account": PAYEE, "lease": None, "returned": None, "block": 7, "ok": True}
        return [
            {**common, "kind": "payout", "side": "own", "amount": money(5_000_000), "transaction": None, "ok": None},
            {**common, "kind": "close", "side": "paying", "amount": money(84), "returned": money(49_916),
             "transaction": HASH},
            {**common, "kind": "vouchers", "side": "paying", "amount": money(84), "lease": "1e" * 16,
             "transaction": None, "block": None},
            {**common, "kind": "deposit", "side": "paying", "amount": money(50_000), "transaction": HASH},
        ]  # fmt: skip

    async def payouts(self) -> PayoutsView:
        self._try("payouts")
        to = self.payout_to
        return {
            "to": to,
            "threshold": money(5_000_000) if to else None,
            "every": "week" if to else None,
            "paid_out": money(5_000_000),
            "waiting": money(1_200_000) if to else None,
            "next_at": rfc3339(T0) if to else None,
            "payouts": [
                {"number": 1, "time": rfc3339(T0), "to": OWNER, "amount": money(5_000_000), "transaction": HASH,
                 "block": 9, "ok": True}
            ],
        }  # fmt: skip

    async def earnings(self, by: str) -> EarningsView:
        self._try("earnings")
        key = {"day": "2026-11-23", "gpu": "=RTX4090", "job": "1e" * 16}[by]
        line: Any = {"key": key, "amount": money(84), "gpu_ms": 3_600_000, "leases": 1}
        settled: Any = {"vouched": money(84), "drawn": money(50), "outstanding": money(30), "lost": money(4)}
        return {"by": by, "total": money(84), "settled": settled, "gpu_ms": 3_600_000, "lines": [line]}

    async def stake(self, provider: str = "") -> StakeView:
        self._try("stake")
        return {**STAKE, "provider": provider or PAYEE}

    async def add_stake(self, amount: str) -> StakeChange:
        return self._changed(f"stake add {amount}")

    async def leave_stake(self) -> StakeChange:
        return self._changed("stake leave")

    async def take_stake(self) -> StakeChange:
        return self._changed("stake take")

    async def slash(self, proof: dict[str, Any]) -> StakeChange:
        return self._changed(f"stake slash {proof.get('kind')}")

    def _changed(self, call: str) -> StakeChange:
        self._try(call.split()[1])
        self.calls.append(call)
        return {"transaction": HASH, "stake": STAKE}

    def _try(self, name: str) -> None:
        if name in self.fail:
            raise self.fail[name]
