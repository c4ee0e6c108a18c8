"""The rules of ``Escrow.sol`` once more, in plain Python and told independently of it.

The fake chain runs on this model, and a property test holds it equal to the compiled contract call by call:
so what the simulation believes about money is what the chain would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ledger.ports import Contradiction, LaneDeposit, LaneKey, LaneOnChain, TokenDomain
from ledger.token_signatures import authorization_digest, authorization_nonce, permit_digest
from ledger.voucher import ROW_BYTES, Domain, close_digest, recover, release_digest, voucher_digest
from market.errors import PeerFault
from tests.fakes.stake_model import Event, Payments, RevertError, StakeModel

MAX_AMOUNT = 2**96 - 1
MAX_STEPS = 255
WITHOUT_LIMIT = 2**256 - 1


@dataclass
class EscrowModel:
    """All lanes of one escrow, and who holds how much of its token. Every call either works whole or changes
    nothing."""

    domain: Domain
    exit_delay_s: int
    step_s: int = 1
    lanes: dict[LaneKey, LaneOnChain] = field(default_factory=dict)
    tokens: dict[bytes, int] = field(default_factory=dict)
    allowances: dict[bytes, int] = field(default_factory=dict)
    permits: dict[bytes, int] = field(default_factory=dict)
    spent: set[tuple[bytes, bytes]] = field(default_factory=set)
    stakes: StakeModel = field(init=False)
    token_domain: TokenDomain = field(init=False)

    def __post_init__(self) -> None:
        self.stakes = StakeModel(self.domain, 2 * MAX_STEPS * self.step_s)
        # The test token's, which lies at an address of its own.
        token = bytes(19) + b"\x70"
        self.token_domain = TokenDomain(
            name="ComputeFabric Test Dollar", version="1", chain_id=self.domain.chain_id, token=token
        )

    def copy(self) -> EscrowModel:
        again = EscrowModel(
            self.domain,
            self.exit_delay_s,
            self.step_s,
            dict(self.lanes),
            dict(self.tokens),
            dict(self.allowances),
            dict(self.permits),
            set(self.spent),
        )
        again.stakes, again.token_domain = self.stakes.copy(), self.token_domain
        return again

    def lane(self, key: LaneKey) -> LaneOnChain:
        return self.lanes.get(key, LaneOnChain())

    def mint(self, account: bytes, amount: int) -> None:
        self.tokens[account] = self.tokens.get(account, 0) + amount

    def approve(self, account: bytes, amount: int = WITHOUT_LIMIT) -> None:
        self.allowances[account] = amount

    # --- fill

    def deposit(self, sender: bytes, key: LaneKey, amount: int) -> list[Event]:
        return self.deposit_many(sender, [LaneDeposit(lane=key, amount=amount)])

    def deposit_many(self, sender: bytes, deposits: Sequence[LaneDeposit]) -> list[Event]:
        if not deposits:
            raise RevertError("ZeroAmount")
        before = dict(self.lanes)
        try:
            events = [event for one in deposits for event in self._fill(sender, one)]
            self._collect(sender, sum(one.amount for one in deposits))
        except RevertError:
            self.lanes = before
            raise
        return events

    def deposit_with_permit(
        self, sender: bytes, key: LaneKey, amount: int, *, deadline_s: int, permit: bytes, now_s: int
    ) -> list[Event]:
        nonce = self.permits.get(sender, 0)
        digest = permit_digest(
            self.token_domain,
            owner=sender,
            spender=self.domain.escrow,
            value=amount,
            nonce=nonce,
            deadline_s=deadline_s,
        )
        before = self.allowances.get(sender, 0)
        good = now_s <= deadline_s and _signer(digest, permit) == sender
        if good:
            self.approve(sender, amount)
        try:
            events = self.deposit(sender, key, amount)
        except RevertError:
            self.approve(sender, before)
            raise
        self.permits[sender] = nonce + good
        return events

    def deposit_with_authorization(
        self, sender: bytes, key: LaneKey, amount: int, *, until_s: int, salt: bytes, signature: bytes, now_s: int
    ) -> list[Event]:
        used = (key.payer, authorization_nonce(key, salt))
        digest = authorization_digest(
            self.token_domain, escrow=self.domain.escrow, lane=key, value=amount, salt=salt, until_s=until_s
        )
        enough = self.tokens.get(key.payer, 0) >= amount
        good = used not in self.spent and now_s < until_s and _signer(digest, signature) == key.payer and enough
        before = dict(self.lanes)
        events = self._fill(sender, LaneDeposit(lane=key, amount=amount))
        try:
            if good:
                self.spent.add(used)
                self._move(key.payer, self.domain.escrow, amount)
            elif sender != key.payer:
                raise RevertError("AuthorizationRefused")
            elif used in self.spent:
                raise RevertError("AuthorizationSpent")
            else:
                self._collect(sender, amount)
        except RevertError:
            self.lanes = before
            raise
        return events

    def _fill(self, sender: bytes, deposit: LaneDeposit) -> list[Event]:
        key, amount = deposit.lane, deposit.amount
        if {bytes(20), self.domain.escrow} & {key.payer, key.payee, key.signer}:
            raise RevertError("NotAParty")
        if amount == 0:
            raise RevertError("ZeroAmount")
        lane = self.lane(key)
        if deposit.delay_s and sender != key.payer:
            raise RevertError("NotThePayer")
        if deposit.delay_s and deposit.delay_s < lane.delay_s and lane.balance != lane.claimed:
            raise RevertError("DelayMayOnlyGrow")
        if lane.balance + amount > MAX_AMOUNT:
            raise RevertError("Panic")
        delay_s = deposit.delay_s or lane.delay_s or self.exit_delay_s
        self.lanes[key] = msgspec.structs.replace(lane, balance=lane.balance + amount, delay_s=delay_s)
        chosen = [("DelaySet", {**_names(key), "delaySeconds": delay_s})] if deposit.delay_s else []
        return [*chosen, ("Deposited", {**_names(key), "amount": amount})]

    def _collect(self, sender: bytes, amount: int) -> None:
        allowed = self.allowances.get(sender, 0)
        if allowed < amount:
            raise RevertError("ERC20InsufficientAllowance")
        if self.tokens.get(sender, 0) < amount:
            raise RevertError("ERC20InsufficientBalance")
        if allowed != WITHOUT_LIMIT:
            self.allowances[sender] = allowed - amount
        self._move(sender, self.domain.escrow, amount)

    # --- draw

    def redeem_many(self, payee: bytes, rows: Sequence[bytes], *, to: bytes | None = None) -> list[Event]:
        if to in (bytes(20), self.domain.escrow):
            raise RevertError("NotAParty")
        paid = 0
        for row in rows:
            key, cumulative = self._read_row(payee, row)
            lane = self.lane(key)
            worth = min(cumulative, lane.balance) - lane.claimed
            if worth > 0:
                self.lanes[key] = msgspec.structs.replace(lane, claimed=lane.claimed + worth)
                paid += worth
        self._move(self.domain.escrow, to or payee, paid)
        return [("Redeemed", {"provider": payee, "paid": paid, "rows": len(rows)})]

    # --- leave

    def start_exit(self, sender: bytes, payee: bytes, signer: bytes, now_s: int) -> list[Event]:
        key = LaneKey(sender, payee, signer)
        lane = self.lane(key)
        if lane.exit_at:
            raise RevertError("ExitAlreadyRunning")
        if lane.balance == lane.claimed:
            raise RevertError("NothingHeld")
        self.lanes[key] = msgspec.structs.replace(lane, exit_at=now_s + lane.delay_s)
        return [("ExitStarted", {**_names(key), "exitAt": now_s + lane.delay_s})]

    def cancel_exit(self, sender: bytes, payee: bytes, signer: bytes) -> list[Event]:
        key = LaneKey(sender, payee, signer)
        lane = self.lane(key)
        if not lane.exit_at:
            raise RevertError("NoExitRunning")
        self.lanes[key] = msgspec.structs.replace(lane, exit_at=0)
        return [("ExitCancelled", _names(key))]

    def finish_exit(self, key: LaneKey, now_s: int) -> list[Event]:
        lane = self.lane(key)
        if not lane.exit_at:
            raise RevertError("NoExitRunning")
        if now_s < lane.exit_at:
            raise RevertError("ExitNotDue")
        return self._close(key, lane.claimed)

    def close_together(
        self,
        sender: bytes,
        key: LaneKey,
        *,
        cumulative: int,
        deadline_s: int,
        payee_signature: bytes,
        payer_signature: bytes,
        now_s: int,
    ) -> list[Event]:
        lane = self.lane(key)
        if now_s > deadline_s:
            raise RevertError("ConsentExpired")
        if not lane.claimed <= cumulative <= lane.balance:
            raise RevertError("CumulativeOutOfRange")
        digest = close_digest(self.domain, key, epoch=lane.epoch, cumulative=cumulative, deadline_s=deadline_s)
        for party, signature in ((key.payee, payee_signature), (key.payer, payer_signature)):
            if sender != party and _signer(digest, signature) != party:
                raise RevertError("ConsentMissing")
        return self._close(key, cumulative)

    def release(
        self,
        sender: bytes,
        payee: bytes,
        signer: bytes,
        *,
        new_balance: int,
        deadline_s: int,
        payee_signature: bytes,
        now_s: int,
    ) -> list[Event]:
        key = LaneKey(sender, payee, signer)
        lane = self.lane(key)
        if now_s > deadline_s:
            raise RevertError("ConsentExpired")
        if not lane.claimed <= new_balance <= lane.balance:
            raise RevertError("CumulativeOutOfRange")
        if new_balance == lane.balance:
            raise RevertError("ZeroAmount")
        digest = release_digest(self.domain, key, epoch=lane.epoch, new_balance=new_balance, deadline_s=deadline_s)
        if sender != payee and _signer(digest, payee_signature) != payee:
            raise RevertError("ConsentMissing")
        to_payer = lane.balance - new_balance
        self._move(self.domain.escrow, sender, to_payer)
        self.lanes[key] = msgspec.structs.replace(lane, balance=new_balance, epoch=(lane.epoch + 1) % 2**16)
        return [("Released", {**_names(key), "toPayer": to_payer})]

    # --- stake

    def add_stake(self, sender: bytes, amount: int) -> list[Event]:
        before = self.stakes.of(sender)
        events = self.stakes.add(sender, amount)
        try:
            self._collect(sender, amount)
        except RevertError:
            self.stakes.stakes[sender] = before
            raise
        return events

    def leave_stake(self, sender: bytes, now_s: int) -> list[Event]:
        return self.stakes.leave(sender, now_s)

    def take_stake(self, sender: bytes, now_s: int) -> list[Event]:
        events, payments = self.stakes.take(sender, now_s)
        self._pay(payments)
        return events

    def slash(self, sender: bytes, proof: Contradiction) -> list[Event]:
        events, payments = self.stakes.slash(sender, proof)
        self._pay(payments)
        return events

    # --- inside

    def _close(self, key: LaneKey, cumulative: int) -> list[Event]:
        lane = self.lane(key)
        to_payee, to_payer = cumulative - lane.claimed, lane.balance - cumulative
        self._move(self.domain.escrow, key.payee, to_payee)
        self._move(self.domain.escrow, key.payer, to_payer)
        closed = LaneOnChain(balance=cumulative, claimed=cumulative, delay_s=lane.delay_s)
        self.lanes[key] = msgspec.structs.replace(closed, epoch=(lane.epoch + 1) % 2**16)
        return [("LaneClosed", {**_names(key), "toProvider": to_payee, "toPayer": to_payer})]

    def _read_row(self, payee: bytes, row: bytes) -> tuple[LaneKey, int]:
        if len(row) != ROW_BYTES:
            raise RevertError("NotWholeRows")
        payer, cumulative = row[:20], int.from_bytes(row[20:32], "big")
        digest = voucher_digest(self.domain, LaneKey(payer, payee, b""), cumulative)
        return LaneKey(payer, payee, _signer(digest, row[32:]) or bytes(20)), cumulative

    def _pay(self, payments: Payments) -> None:
        for account, amount in payments:
            self._move(self.domain.escrow, account, amount)

    def _move(self, source: bytes, target: bytes, amount: int) -> None:
        if amount:
            self.tokens[source] = self.tokens.get(source, 0) - amount
            self.tokens[target] = self.tokens.get(target, 0) + amount


def _names(key: LaneKey) -> dict[str, Any]:
    return {"payer": key.payer, "provider": key.payee, "signer": key.signer}


def _signer(digest: bytes, signature: bytes) -> bytes | None:
    try:
        return recover(digest, signature)
    except PeerFault:
        return None
