"""What happened to this node's money, told from the facts of its journal. Pure.

The books of a lane are played through again, fact by fact, and each change of a sum becomes a line. What the chain
shows and no transaction of ours explains was somebody else's doing: a deposit for us, a redemption, a watchtower.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ledger import lane_facts, payouts
from ledger.lane import LaneBooks, apply
from ledger.lane_facts import FACTS
from ledger.ports import JournalEntry
from market.codec import unpack_record
from node.control import money, rfc3339
from node.wallet_shapes import WalletLine

_KIND = {
    "start_exit": "exit_started",
    "cancel_exit": "exit_cancelled",
    "finish_exit": "exit",
    "close_together": "close",
}
_MOVES = ("redeem", "close", "exit", "release")
"""Kinds whose sums are known only from the next look at the chain."""


class LaneTeller:
    """Tells the story of one lane.

    Args:
        side: ``"paying"`` or ``"paid"``: which of the two parties we are.
    """

    def __init__(self, side: str) -> None:
        self.lines: list[WalletLine] = []
        self._side = side
        self._books: LaneBooks | None = None
        self._deposit: WalletLine | None = None
        self._open: WalletLine | None = None
        self._vouched_at: dict[bytes, int] = {}

    def take(self, entry: JournalEntry) -> None:
        """One more entry of the lane's stream. What is no fact of a lane is passed over."""
        kind = FACTS.get(entry.kind)
        if kind is None:
            return
        fact = unpack_record(entry.body, kind)
        if isinstance(fact, lane_facts.LaneOpened):
            self._books = LaneBooks(lane=fact.lane)
        if self._books is None:
            return
        before, self._books = self._books, apply(self._books, fact)
        self._tell(entry.at_ms, fact, before, self._books)

    def finish(self) -> list[WalletLine]:
        """All lines, with the sums of leases that are still open."""
        for account in self._books.leases if self._books else ():
            if account.amount:
                self._vouchers(self._vouched_at.get(account.lease_id, 0), account.lease_id, account.amount)
        return self.lines

    def _tell(self, at_ms: int, fact: Struct, before: LaneBooks, after: LaneBooks) -> None:
        match fact:
            case lane_facts.DepositIntended():
                self._deposit = self._line(at_ms, "deposit", amount=fact.amount)
                self._deposit["ok"] = None
            case lane_facts.DepositSettled():
                if self._deposit is not None:
                    self._deposit["ok"] = fact.landed
                self._deposit = None
            case lane_facts.TransactionMined():
                self._mined(at_ms, fact)
            case lane_facts.ChainSeen():
                self._seen(at_ms, before, after)
            case lane_facts.AmountVouched():
                self._vouched_at[fact.lease_id] = at_ms
            case lane_facts.LateVoucherTaken() if fact.more:
                self._vouchers(at_ms, fact.lease_id, fact.more)
            case lane_facts.LeaseClosed():
                account = before.lease(fact.lease_id)
                if account is not None and account.amount:
                    self._vouchers(self._vouched_at.pop(fact.lease_id, at_ms), fact.lease_id, account.amount)

    def _mined(self, at_ms: int, fact: lane_facts.TransactionMined) -> None:
        kind = _KIND.get(fact.purpose, fact.purpose)
        line = self._deposit if kind == "deposit" and self._deposit is not None else self._line(at_ms, kind)
        line["transaction"] = "0x" + fact.transaction.hex() if any(fact.transaction) else None
        line["block"] = fact.block
        line["ok"] = fact.succeeded
        if kind in _MOVES and fact.succeeded:
            self._open = line

    def _seen(self, at_ms: int, before: LaneBooks, after: LaneBooks) -> None:
        """Put the change in what the lane holds down to what we did, or else to others."""
        paid = after.claimed - before.claimed
        own = before.deposit.amount if before.deposit is not None else 0
        grown = after.balance - before.balance
        own = own if grown >= own else 0
        given = max(0, grown - own)
        returned = max(0, -grown)
        if given:
            self._line(at_ms, "deposit", amount=given)
        if paid > 0 or returned:
            line = self._open if self._open is not None else self._line(at_ms, "close" if returned else "redeem")
            line["amount"] = money(max(0, paid))
            line["returned"] = money(returned) if returned else None
            self._open = None

    def _vouchers(self, at_ms: int, lease: bytes, amount: int) -> None:
        self._line(at_ms, "vouchers", amount=amount)["lease"] = lease.hex()

    def _line(self, at_ms: int, kind: str, *, amount: int | None = None) -> WalletLine:
        assert self._books is not None
        lane = self._books.lane
        other = lane.payee if self._side == "paying" else lane.payer
        line = _line(at_ms, kind, side=self._side, account=other, amount=amount)
        self.lines.append(line)
        return line


def lane_lines(side: str, entries: Iterable[JournalEntry]) -> list[WalletLine]:
    """The lines of one lane's stream, oldest first."""
    teller = LaneTeller(side)
    for entry in entries:
        teller.take(entry)
    return teller.finish()


def payout_lines(entries: Iterable[JournalEntry]) -> list[WalletLine]:
    """The lines of the payouts' stream, oldest first."""
    lines: list[WalletLine] = []
    for entry in entries:
        fact = unpack_record(entry.body, payouts.FACTS[entry.kind]) if entry.kind in payouts.FACTS else None
        if isinstance(fact, payouts.PayoutIntended):
            lines.append(_line(fact.at_ms, "payout", side="own", account=fact.to, amount=fact.amount))
            lines[-1]["ok"] = None
        elif isinstance(fact, payouts.PayoutSettled) and lines:
            lines[-1]["ok"] = fact.landed
            lines[-1]["transaction"] = "0x" + fact.transaction.hex() if any(fact.transaction) else None
            lines[-1]["block"] = fact.block or None
    return lines


def _line(at_ms: int, kind: str, *, side: str, account: bytes, amount: int | None) -> WalletLine:
    return {
        "time": rfc3339(at_ms),
        "kind": kind,
        "side": side,
        "account": "0x" + account.hex(),
        "lease": None,
        "amount": None if amount is None else money(amount),
        "returned": None,
        "transaction": None,
        "block": None,
        "ok": True,
    }
