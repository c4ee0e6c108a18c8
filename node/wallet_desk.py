"""What the owner asks of the node's money: :class:`node.wallet_control.WalletControl` over real parts."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import trio

from ledger.hot_payer import HotPayer
from ledger.lane_journal import LaneJournal
from ledger.payout_rules import PayoutPlan
from ledger.payouts import Payouts
from ledger.permit_deposits import with_permits
from ledger.ports import LaneKey, LaneOnChain
from ledger.ready_transactions import APPROVE_GAS, DEPOSIT_GAS, ready_deposit
from ledger.token_account import TokenAccount
from ledger.voucher import Domain
from market.errors import InvalidRequest, Unavailable
from market.money import parse_tokens
from node import views
from node.account_text import is_account, read_account
from node.control import money, rfc3339
from node.earnings import group_earnings, read_earnings, read_settled
from node.escrow_past import PATIENCE_S, EscrowPast, name_transactions
from node.payout_keeper import PayoutKeeper
from node.stake_desk import StakeDesk
from node.trading import TradingNode, World
from node.wallet_history import lane_lines, payout_lines
from node.wallet_shapes import (
    DepositDone,
    DepositPlan,
    EarningsView,
    PayoutsView,
    ReadyCall,
    WalletLine,
    Withdrawal,
)

_HEX = re.compile(r"[0-9a-f]+")
_SHORTEST = 4
_WAYS = {"allowance": DEPOSIT_GAS, "permit": DEPOSIT_GAS + APPROVE_GAS, "approval": DEPOSIT_GAS + APPROVE_GAS}
_PAYOUTS_SHOWN = 1_000


class WalletDesk(StakeDesk):
    """The money of a running node. Make one with :func:`open_wallet_desk`."""

    def __init__(
        self, world: World, trading: TradingNode, tokens: TokenAccount, keeper: PayoutKeeper, past: EscrowPast
    ) -> None:
        super().__init__(world)
        self._past = past
        self._trading = trading
        self._tokens = tokens
        self.keeper = keeper
        self._domain = Domain(world.chain.chain_id, world.chain.escrow)
        self._kept = trading.buying.kept
        chain, self._permits = with_permits(world.chain, tokens, world.wallet)
        payer = trading.buying.payer
        assert isinstance(payer, HotPayer)
        self._payer = payer
        payer.top_up_through(chain)

    async def plan_deposit(self, provider: str, amount: str, *, sender: str = "") -> DepositPlan:
        payee, key = self._find(provider)
        units, lane = _amount(amount), self._payer.lane(payee)
        account = self._world.chain.account
        tokens = await self._tokens.token_balance(account)
        held = _held(await self._world.chain.lane(lane))
        way = await self._permits.way(units)
        allowance = await self._tokens.allowance(read_account(sender), self._domain.escrow) if sender else 0
        ready = ready_deposit(
            lane,
            units,
            chain_id=self._domain.chain_id,
            escrow=self._domain.escrow,
            token=self._tokens.token,
            allowance=allowance,
        )
        return {
            "provider": key.hex() if key else None,
            "payee": "0x" + payee.hex(),
            "payer": "0x" + account.hex(),
            "signer": "0x" + lane.signer.hex(),
            "amount": money(units),
            "tokens": money(tokens),
            "tokens_after": money(tokens - units),
            "lane_before": money(held),
            "lane_after": money(held + units),
            "way": way,
            "gas_cost": str(_WAYS[way] * await self._tokens.gas_price()),
            "gas": str(await self._world.chain.gas_balance(account)),
            "exit_delay_s": self._world.chain.exit_delay_s,
            "transactions": [_ready_call(one) for one in ready],
        }

    async def deposit(self, provider: str, amount: str) -> DepositDone:
        payee, _ = self._find(provider)
        units = _amount(amount)
        await self._kept.keep(payee)
        mined = await self._payer.top_up(payee, units)
        lane = next(one for one in self._payer.summary() if one.lane == self._payer.lane(payee))
        return {
            "transaction": "0x" + mined.hash.hex(),
            "block": mined.block,
            "amount": money(units),
            "lane": views.lane_view(lane),
        }

    async def withdraw(self, provider: str, *, alone: bool = False) -> Withdrawal:
        payee, key = self._find(provider)
        lane = self._payer.lane(payee)
        await self._kept.let_go(payee)
        before = await self._world.chain.lane(lane)
        if (finished := await self._payer.finish_exit_when_due(payee)) is not None:
            return _withdrawal(payee, finished.hash, before, await self._world.chain.lane(lane), together=False)
        if self._lanes.in_use(payee):
            raise InvalidRequest(
                "a lease still pays from this lane", code="lane_in_use", fix="wait for the job or cancel it"
            )
        if not _held(before):
            raise InvalidRequest("this lane holds nothing", code="nothing_held")
        if not alone:
            if key is not None:
                self._lanes.learn(payee, key)
            await self._lanes.step(payee)
            after = await self._world.chain.lane(lane)
            if not _held(after):
                return _withdrawal(payee, await self._newest_transaction(payee), before, after, together=True)
        begun = await self._payer.begin_exit(payee)
        after = await self._world.chain.lane(lane)
        return _withdrawal(payee, begun.hash if begun else b"", before, after, together=False)

    async def wallet_history(self) -> list[WalletLine]:
        told: dict[LaneKey, list[WalletLine]] = {}
        for side in ("paying", "paid"):
            root = f"{side}/{self._domain.chain_id}-{self._domain.escrow.hex()}/lane/"
            for stream in await self._world.journal.streams(root):
                parties = stream.removeprefix(root).split("-")
                told[LaneKey(*map(bytes.fromhex, parties))] = lane_lines(side, await self._world.journal.read(stream))
        # The chain only adds the transactions of others to what is told: the rest does not wait for it.
        with trio.move_on_after(2 * PATIENCE_S), suppress(Unavailable):
            moves = await self._past.moves(told)
            for lane, known in told.items():
                name_transactions(lane, known, moves)
        lines = [line for known in told.values() for line in known]
        lines += payout_lines(await self.keeper.payouts.entries())
        lines += await self.stake_lines()
        lines.sort(key=lambda line: line["time"], reverse=True)
        return lines

    async def payouts(self) -> PayoutsView:
        payouts = self.keeper.payouts
        plan, books = payouts.plan, payouts.books
        waiting, next_ms = None, None
        if plan is not None:
            with suppress(Unavailable):  # what was sent can be told without the chain
                waiting, next_ms = await payouts.due(await self.keeper.earned())
        lines = payout_lines(await payouts.entries())
        return {
            "to": "0x" + plan.to.hex() if plan else None,
            "threshold": money(plan.threshold) if plan else None,
            "every": plan.every if plan else None,
            "paid_out": money(books.paid_out if books else 0),
            "waiting": None if waiting is None else money(waiting),
            "next_at": None if next_ms is None else rfc3339(next_ms),
            "payouts": [
                {
                    "number": number,
                    "time": line["time"],
                    "to": line["account"],
                    "amount": line["amount"] or money(0),
                    "transaction": line["transaction"],
                    "block": line["block"],
                    "ok": line["ok"],
                }
                for number, line in list(enumerate(lines, 1))[: -_PAYOUTS_SHOWN - 1 : -1]
            ],
        }

    async def earnings(self, by: str) -> EarningsView:
        journal = self._world.journal
        return group_earnings(await read_earnings(journal, self._gpu_of), by, await read_settled(journal))

    @property
    def _lanes(self) -> Any:
        return self._trading.buying.lanes

    def _gpu_of(self, machine: str) -> str:
        selling = self._trading.selling
        sold = selling.desk.machines.get(machine) if selling else None
        return sold.description.gpu if sold else ""

    async def _newest_transaction(self, payee: bytes) -> bytes:
        lanes = LaneJournal(self._world.journal, "paying", self._domain, self._world.clock.now_ms)
        lines = lane_lines("paying", await self._world.journal.read(lanes._stream(self._payer.lane(payee))))
        found = next((line["transaction"] for line in reversed(lines) if line["transaction"]), None)
        return bytes.fromhex(found[2:]) if found else b""

    def _find(self, provider: str) -> tuple[bytes, bytes | None]:
        """The account a provider is paid on, and its node's key if it is known.

        Raises:
            InvalidRequest: ``not_found``, ``ambiguous``, or ``own_lane``.
        """
        text, book = provider.lower(), self._trading.intake.book
        if is_account(text):
            payee = read_account(provider)
            known = (key for key in book.providers() if payee in self._payees(key))
            key = next(known, None)
        else:
            keys = [one for one in book.providers() if _is_start(text) and one.hex().startswith(text)]
            found = {payee: one for one in keys for payee in self._payees(one)}
            if len(found) > 1:
                raise InvalidRequest(
                    f"'{provider[:80]}' means {len(found)} providers", code="ambiguous", fix="give more"
                )
            if not found:
                raise InvalidRequest(
                    f"no provider '{provider[:80]}' is selling for this escrow now",
                    code="not_found",
                    fix="'cfab offers --json' shows their keys; an account 0x… works for one that is away",
                )
            ((payee, key),) = found.items()
        if payee == self._world.chain.account:
            raise InvalidRequest("that is this node itself", code="own_lane")
        return payee, key

    def _payees(self, key: bytes) -> set[bytes]:
        terms = [offer.record.settlement for offer in self._trading.intake.book.offers_of(key)]
        return {
            one.payee for one in terms if (one.chain_id, one.escrow) == (self._domain.chain_id, self._domain.escrow)
        }


async def open_wallet_desk(
    world: World, trading: TradingNode, plan: PayoutPlan | None, *, start_block: int = 0
) -> WalletDesk:
    """A desk that knows the state of the payouts.

    Args:
        plan: where earnings go; None leaves them where they are.
        start_block: first block that can hold an event of ours.

    Raises:
        InvalidRequest: ``bad_config``: the plan's account cannot be meant.
    """
    tokens = world.tokens
    assert tokens is not None
    if plan is not None and plan.to in (world.chain.account, world.chain.escrow, tokens.token):
        raise InvalidRequest(
            "earnings cannot be sent to this node itself, to the escrow or to the token",
            code="bad_config",
            fix="take an account of yours whose key is elsewhere",
            where="address under [payout]",
        )
    domain, now_ms = Domain(world.chain.chain_id, world.chain.escrow), world.clock.now_ms
    payouts = Payouts(tokens, world.journal, plan, domain, now_ms)
    await payouts.load()
    past = EscrowPast(world.chain, world.journal, start_block=start_block)
    return WalletDesk(world, trading, tokens, PayoutKeeper(payouts, world.journal, domain, now_ms), past)


def _amount(text: str) -> int:
    units = parse_tokens(text)
    if units <= 0:
        raise InvalidRequest("the amount is zero", code="bad_amount", fix="give tokens, such as 2.5")
    return units


def _is_start(text: str) -> bool:
    return _SHORTEST <= len(text) <= 64 and _HEX.fullmatch(text) is not None


def _held(lane: LaneOnChain) -> int:
    return lane.balance - lane.claimed


def _ready_call(one: Any) -> ReadyCall:
    return {
        "what": one.what,
        "to": "0x" + one.to.hex(),
        "data": "0x" + one.data.hex(),
        "value": str(one.value),
        "chain_id": one.chain_id,
        "gas": one.gas,
    }


def _withdrawal(
    payee: bytes, transaction: bytes, before: LaneOnChain, after: LaneOnChain, *, together: bool
) -> Withdrawal:
    finished = not _held(after)
    return {
        "payee": "0x" + payee.hex(),
        "transaction": "0x" + transaction.hex() if any(transaction) else None,
        "exit_at": rfc3339(after.exit_at * 1000) if after.exit_at else None,
        "finished": finished,
        "together": together,
        "returned": money(max(0, before.balance - after.balance)) if finished else None,
    }
