"""Payers and payees with one mistake each, of the kinds that lose money: the two-party model must catch every one."""

from __future__ import annotations

from typing import Any

from ledger.payee import Payee
from ledger.payer import CloseProposal, Payer
from ledger.ports import LaneKey, Transaction
from ledger.voucher import Voucher, close_digest, decode_voucher, sign_voucher
from market.errors import PeerFault, Unavailable
from tests.fakes.two_parties import GRACE_S, LANE, PAYEE, SESSION, TICK_S


class LateWriter(Payee):
    """Says that it has a voucher, and writes it down with the next redemption."""

    _late: tuple[Any, ...] = ()

    async def accept(self, lease_id: bytes, amount: int, voucher: Voucher | bytes) -> None:
        self._late = (*self._late, (lease_id, amount, voucher))

    async def redeem(self, *words: Any, **named: Any) -> Transaction | None:
        late, self._late = self._late, ()
        for one in late:
            try:
                await super().accept(*one)
            except PeerFault:
                continue
        return await super().redeem(*words, **named)


class Believer(Payee):
    """Takes a voucher's word for it: signature, lane and deposit are not looked at."""

    async def accept(self, lease_id: bytes, amount: int, voucher: Voucher | bytes) -> None:
        try:
            await super().accept(lease_id, amount, voucher)
        except PeerFault:
            return


class PushOver(Payee):
    """Consents to close at whatever the payer proposes."""

    async def consent_close(self, lane: LaneKey, cumulative: int, deadline_s: int) -> bytes:
        found = await self.lane_on_chain(lane)
        digest = close_digest(self.domain, lane, epoch=found.epoch, cumulative=cumulative, deadline_s=deadline_s)
        return PAYEE.sign(digest)


class Undercounter(Payee):
    """Redeems the first voucher it was ever given, not the newest."""

    _first: bytes = b""

    async def accept(self, lease_id: bytes, amount: int, voucher: Voucher | bytes) -> None:
        await super().accept(lease_id, amount, voucher)
        if isinstance(voucher, bytes):
            self._first = self._first or voucher

    async def redeem(self, *words: Any, **named: Any) -> Transaction | None:
        if not self._first:
            return None
        return await self._chain.redeem_many(PAYEE.address, [decode_voucher(self._first).row()])


class Unconfirmed(Payee):
    """Counts a deposit as soon as it is seen."""

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **{**named, "confirmations": 0})


class Spendthrift(Payer):
    """Signs for what it is asked, whatever the lease may cost and the lane holds."""

    async def acknowledge(self, lease_id: bytes, amount: int) -> Voucher:
        [*before] = self.summary()
        return sign_voucher(SESSION, self._domain, LANE, sum(one.signed for one in before) + amount)


class Forgetful(Payer):
    """Signs first and writes nothing down."""

    async def acknowledge(self, lease_id: bytes, amount: int) -> Voucher:
        journal = self._lanes._journal
        kept = (list(journal._entries), dict(journal._values))  # type: ignore[attr-defined]
        voucher = await super().acknowledge(lease_id, amount)
        journal._entries, journal._values = kept  # type: ignore[attr-defined]
        return voucher


class TwiceDepositor(Payer):
    """Deposits again when the answer was lost."""

    async def ensure_funded(self, lease_id: bytes, *words: Any, **named: Any) -> Transaction | None:
        try:
            return await super().ensure_funded(lease_id, *words, **named)
        except Unavailable:
            books = self._lanes.books(LANE)
            if books.deposit is None:
                raise
            return await self._chain._chain.deposit(LANE.payee, LANE.signer, books.deposit.amount)


class HalfCloser(Payer):
    """Never takes the rest of a lane back."""

    async def finish_close(self, proposal: CloseProposal, consent: bytes) -> Transaction | None:
        return None

    async def finish_exit_when_due(self, payee: bytes) -> Transaction | None:
        return None


_CHEATED = {"requester_honest": False, "provider_honest": True}
CONTROLS: dict[str, dict[str, Any]] = {
    "a payee that writes vouchers down late": {"payee_kind": LateWriter},
    "a payee that checks nothing": {"payee_kind": Believer, **_CHEATED},
    "a payee that consents to anything": {"payee_kind": PushOver, **_CHEATED},
    "a payee that redeems an old voucher": {"payee_kind": Undercounter},
    "a payee that counts unconfirmed deposits": {"payee_kind": Unconfirmed, **_CHEATED},
    "a provider that does not watch for exits": {"watches_exits": False},
    "a provider that never freezes": {"works_until": lambda job: float("inf")},
    "a provider that freezes by the arrival of payments": {
        "works_until": lambda job: job.accepted_at + TICK_S + GRACE_S
    },
    "a payer that signs for anything": {"payer_kind": Spendthrift},
    "a payer that forgets what it signed": {"payer_kind": Forgetful},
    "a payer that deposits again": {"payer_kind": TwiceDepositor},
    "a payer that leaves its money behind": {"payer_kind": HalfCloser},
}
