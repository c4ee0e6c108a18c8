"""The rules of ``ProviderStake.sol`` once more, in plain Python and told independently of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ledger.ports import Contradiction, Stake
from ledger.voucher import Domain, recover
from market.errors import PeerFault
from tests.fakes.statements import statement_digest

NOBODY = bytes.fromhex("000000000000000000000000000000000000dead")
Event = tuple[str, dict[str, Any]]
Payments = list[tuple[bytes, int]]
"""Who gets how much out of the escrow."""


class RevertError(Exception):
    """The contract would revert; the argument is the name of its error."""


@dataclass
class StakeModel:
    """All stakes of one escrow. Says what is to be paid; who holds the tokens is the escrow model's business."""

    domain: Domain
    delay_s: int
    stakes: dict[bytes, Stake] = field(default_factory=dict)
    punished: set[tuple[bytes, int, bytes, int]] = field(default_factory=set)

    def copy(self) -> StakeModel:
        return StakeModel(self.domain, self.delay_s, dict(self.stakes), set(self.punished))

    def of(self, provider: bytes) -> Stake:
        return self.stakes.get(provider, Stake())

    def total(self) -> int:
        return sum(stake.amount for stake in self.stakes.values())

    def add(self, sender: bytes, amount: int) -> list[Event]:
        if amount == 0:
            raise RevertError("ZeroAmount")
        whole = self.of(sender).amount + amount
        if whole >= 2**96:
            raise RevertError("Panic")
        return self._set(sender, Stake(amount=whole))

    def leave(self, sender: bytes, now_s: int) -> list[Event]:
        stake = self.of(sender)
        if not stake.amount:
            raise RevertError("NothingStaked")
        if stake.unlock_at:
            raise RevertError("StakeAlreadyLeaving")
        return self._set(sender, Stake(amount=stake.amount, unlock_at=now_s + self.delay_s))

    def take(self, sender: bytes, now_s: int) -> tuple[list[Event], Payments]:
        stake = self.of(sender)
        if not stake.unlock_at:
            raise RevertError("StakeNotLeaving")
        if now_s < stake.unlock_at:
            raise RevertError("StakeLocked")
        return self._set(sender, Stake()), [(sender, stake.amount)]

    def slash(self, sender: bytes, proof: Contradiction) -> tuple[list[Event], Payments]:
        if proof.body_a == proof.body_b:
            raise RevertError("NoContradiction")
        if proof.kind not in (0, 1):
            raise RevertError("UnknownStatement")
        for body, signature in ((proof.body_a, proof.signature_a), (proof.body_b, proof.signature_b)):
            digest = statement_digest(self.domain, proof.kind, proof.subject, proof.sequence, body)
            if _signer(digest, signature) != proof.provider:
                raise RevertError("NotItsStatement")
        fault = (proof.provider, proof.kind, proof.subject, proof.sequence)
        if fault in self.punished:
            raise RevertError("AlreadyPunished")
        stake = self.of(proof.provider)
        if not stake.amount:
            raise RevertError("NothingStaked")
        # Half, the odd unit with it; a quarter of that, rounded down, is the reporter's.
        taken = (stake.amount + 1) // 2
        bounty = taken // 4
        self.punished.add(fault)
        self.stakes[proof.provider] = Stake(amount=stake.amount - taken, unlock_at=stake.unlock_at)
        event = {
            "provider": proof.provider,
            "reporter": sender,
            "kind": proof.kind,
            "subject": proof.subject,
            "seq": proof.sequence,
            "bounty": bounty,
            "burnt": taken - bounty,
        }
        return [("Slashed", event)], [(sender, bounty), (NOBODY, taken - bounty)]

    def _set(self, provider: bytes, stake: Stake) -> list[Event]:
        self.stakes[provider] = stake
        return [("StakeChanged", {"provider": provider, "amount": stake.amount, "unlockAt": stake.unlock_at})]


def _signer(digest: bytes, signature: bytes) -> bytes | None:
    try:
        return recover(digest, signature)
    except PeerFault:
        return None
