"""The rules of ``Escrow.sol`` once more, in plain Python and told independently of it.

The fake chain runs on this model, and a property test holds it equal to the compiled contract call by call:
so what the simulation believes about money is what the chain would do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ledger.ports import LaneKey, LaneOnChain
from ledger.voucher import ROW_BYTES, Domain, close_digest, recover, voucher_digest
from market.errors import PeerFault

MAX_AMOUNT = 2**96 - 1
Event = tuple[str, dict[str, Any]]


class RevertError(Exception):
    """The contract would revert; the argument is the name of its error."""


@dataclass
class EscrowModel:
    """All lanes of one escrow, and who holds how much of its token. Every call either works whole or changes
    nothing."""

    domain: Domain
    exit_delay_s: int
    lanes: dict[LaneKey, LaneOnChain] = field(default_factory=dict)
    tokens: dict[bytes, int] = field(default_factory=dict)

    def copy(self) -> EscrowModel:
        return EscrowModel(self.domain, self.exit_delay_s, dict(self.lanes), dict(self.tokens))

    def lane(self, key: LaneKey) -> LaneOnChain:
        return self.lanes.get(key, LaneOnChain())

    def mint(self, account: bytes, amount: int) -> None:
        self.tokens[account] = self.tokens.get(account, 0) + amount

    def deposit(self, sender: bytes, key: LaneKey, amount: int) -> list[Event]:
        if {bytes(20), self.domain.escrow} & {key.payer, key.payee, key.signer}:
            raise RevertError("NotAParty")
        if amount == 0:
            raise RevertError("ZeroAmount")
        lane = self.lane(key)
        if lane.balance + amount > MAX_AMOUNT:
            raise RevertError("Panic")
        if self.tokens.get(sender, 0) < amount:
            raise RevertError("ERC20InsufficientBalance")
        self._move(sender, self.domain.escrow, amount)
        self.lanes[key] = msgspec.structs.replace(lane, balance=lane.balance + amount)
        return [("Deposited", {**_names(key), "amount": amount})]

    def redeem_many(self, payee: bytes, rows: Sequence[bytes]) -> list[Event]:
        paid = 0
        for row in rows:
            key, cumulative = self._read_row(payee, row)
            lane = self.lane(key)
            worth = min(cumulative, lane.balance) - lane.claimed
            if worth > 0:
                self.lanes[key] = msgspec.structs.replace(lane, claimed=lane.claimed + worth)
                paid += worth
        self._move(self.domain.escrow, payee, paid)
        return [("Redeemed", {"provider": payee, "paid": paid, "rows": len(rows)})]

    def start_exit(self, sender: bytes, payee: bytes, signer: bytes, now_s: int) -> list[Event]:
        key = LaneKey(sender, payee, signer)
        lane = self.lane(key)
        if lane.exit_at:
            raise RevertError("ExitAlreadyRunning")
        if lane.balance == lane.claimed:
            raise RevertError("NothingHeld")
        self.lanes[key] = msgspec.structs.replace(lane, exit_at=now_s + self.exit_delay_s)
        return [("ExitStarted", {**_names(key), "exitAt": now_s + self.exit_delay_s})]

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

    def _close(self, key: LaneKey, cumulative: int) -> list[Event]:
        lane = self.lane(key)
        to_payee, to_payer = cumulative - lane.claimed, lane.balance - cumulative
        self._move(self.domain.escrow, key.payee, to_payee)
        self._move(self.domain.escrow, key.payer, to_payer)
        self.lanes[key] = LaneOnChain(balance=cumulative, claimed=cumulative, epoch=(lane.epoch + 1) % 2**24)
        return [("LaneClosed", {**_names(key), "toProvider": to_payee, "toPayer": to_payer})]

    def _read_row(self, payee: bytes, row: bytes) -> tuple[LaneKey, int]:
        if len(row) != ROW_BYTES:
            raise RevertError("NotWholeRows")
        payer, cumulative = row[:20], int.from_bytes(row[20:32], "big")
        digest = voucher_digest(self.domain, LaneKey(payer, payee, b""), cumulative)
        return LaneKey(payer, payee, _signer(digest, row[32:]) or bytes(20)), cumulative

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
