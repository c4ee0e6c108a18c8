"""Asks one provider for a lease, and believes no answer that does not fit.

An award may be sent twice: its lease id is derived from it, so a provider answers the second as it answered the first.
Where it stays unknown whether there is a lease, the provider is told that it is not wanted, so that its slots are not
held until the time for paying is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct

from bootstrap.containment import contained
from ledger.statement import check_grants
from ledger.voucher import Domain
from market import codec
from market.errors import PeerFault
from market.matching import Match
from market.records import Award, Bid, Lease, Refusal
from market.signing import Signer, Verified, verify
from node import wire
from node.lane_subjects import award_subject
from node.lease_board import lease_id_of
from node.ports import AnswerLost, Clock, Network, PeerUnreachable
from node.provider import AwardRequest
from node.purchase import Purchase, Purse

_AWARD_TTL_MS = wire.MAX_CLOCK_SKEW_MS + 30_000
"""By the provider's clock, which may be as wrong as ours: an award must not be born expired."""
_MAX_ANSWER = 64 * 1024
"""A lease holds an award of eight kibibytes. More than a few times that is read for seconds, for nothing."""
_PER_SLOT = 80
"""Bytes of a lease for each of its slots: its number, and the grant."""
_CANCEL_PAUSES_S = (0.0, 3.0, 10.0)
"""Before each try to call a lost award back. It may still be on its way when the first one arrives."""


class Answer(Struct, frozen=True, kw_only=True):
    """What came of asking a provider: a lease, a refusal, or only a word of ours for what happened."""

    lease: Verified[Lease] | None = None
    refusal: Verified[Refusal] | None = None
    word: str = ""
    detail: str = ""


class Awarding:
    """Signs awards and asks providers for leases."""

    def __init__(
        self,
        *,
        signer: Signer,
        network: Network,
        clock: Clock,
        purse: Purse,
        prove_lane: Callable[[bytes, bytes], bytes],
    ) -> None:
        self._signer = signer
        self._network = network
        self._clock = clock
        self._purse = purse
        self._prove_lane = prove_lane
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Call lost awards back in the background while the block runs."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                self._nursery = None
            nursery.cancel_scope.cancel()

    def sign(self, match: Match, bid: Bid, purchase: Purchase, transcript: bytes) -> Verified[Award]:
        """The award of a bid to an offer. ``transcript`` is the digest of what it was chosen by."""
        now = self._clock.now_ms()
        offer = match.offer.record
        payee = offer.settlement.payee
        return self._signer.sign(
            Award(
                requester=self._signer.key,
                provider=offer.provider,
                bid_id=bid.bid_id,
                machine=offer.machine,
                offer_id=match.offer.id,
                offer_version=offer.version,
                price=match.price,
                quote=match.quote.raw if match.quote is not None else b"",
                slots=bid.requirements.slots,
                spec_hash=bid.spec_hash,
                max_duration_ms=purchase.spec.max_duration_ms,
                chain_id=self._purse.chain_id,
                escrow=self._purse.escrow,
                payer=self._purse.payer,
                signer=self._purse.signer,
                payee=payee,
                lane_proof=self._prove_lane(payee, award_subject(self._signer.key, offer.provider, bid.bid_id)),
                terms=offer.terms,
                transcript=transcript,
                issued_at=now,
                expires_at=now + _AWARD_TTL_MS,
            )
        )

    async def ask(self, award: Verified[Award], match: Match, purchase: Purchase) -> Answer:
        """Send an award to its provider. Nothing that comes back, or does not, raises."""
        provider = award.record.provider
        # Of most offers nobody remembers the addresses: a node needs only so many places to dial.
        self._network.learn(provider, match.offer.record.addresses)
        request = AwardRequest(award=award.raw, spec=codec.pack_record(purchase.spec), salt=purchase.salt)
        try:
            return self._read(await self._exchange(award.record, codec.pack_record(request)), award)
        except PeerUnreachable as error:
            if isinstance(error, AnswerLost):
                self.call_back(award.record)
            return Answer(word="unreachable", detail=str(error))
        except PeerFault as fault:
            self._network.penalise(provider, fault.code)
            return Answer(word=fault.code, detail=fault.message)
        except trio.Cancelled:
            self.call_back(award.record)
            raise

    async def _exchange(self, award: Award, request: bytes) -> bytes:
        async def send(timeout: float) -> bytes:
            return await self._network.request(
                award.provider, wire.PROTOCOL_AWARD, request, timeout=timeout, max_response=_most(award)
            )

        try:
            return await send(wire.AWARD_TIMEOUT_S)
        except AnswerLost as lost:
            try:
                return await send(wire.AWARD_TIMEOUT_S / 2)
            except PeerUnreachable:
                raise lost from None

    def _read(self, answer: bytes, award: Verified[Award]) -> Answer:
        reply = codec.unpack(answer, limit=_most(award.record))
        if not isinstance(reply, dict):
            raise PeerFault("an answer to an award that is neither lease nor refusal", code="bad_answer")
        if isinstance(raw := reply.get("lease"), bytes):
            return Answer(lease=_read_lease(raw, award))
        refusal = verify(_envelope(reply.get("refusal")), Refusal)
        if refusal.signer != award.record.provider or refusal.record.bid_id != award.record.bid_id:
            raise PeerFault("a refusal of another award", code="wrong_refusal")
        return Answer(refusal=refusal, word=str(refusal.record.reason), detail=refusal.record.detail)

    def call_back(self, award: Award) -> None:
        """Tell a provider, in the background, that its lease is not wanted; returns at once."""
        if self._nursery is not None:
            lease_id = lease_id_of(award.requester, award.provider, award.bid_id)
            self._nursery.start_soon(contained, self._cancel, award.provider, lease_id)

    async def _cancel(self, provider: bytes, lease_id: bytes) -> None:
        request = codec.pack({"lease": lease_id})
        for pause in _CANCEL_PAUSES_S:
            await trio.sleep(pause)
            try:
                await self._network.request(provider, wire.PROTOCOL_CANCEL, request, timeout=wire.AWARD_TIMEOUT_S)
            except PeerUnreachable:
                continue
            return


def _read_lease(raw: bytes, award: Verified[Award]) -> Verified[Lease]:
    lease, asked = verify(raw, Lease), award.record
    if lease.signer != asked.provider or lease.record.award != award.raw:
        raise PeerFault("a lease for another award", code="wrong_lease")
    if lease.record.lease_id != lease_id_of(asked.requester, lease.signer, asked.bid_id):
        # Ids can be computed by everybody: with a chosen one a provider would take over another's lease here.
        raise PeerFault("a lease under another id", code="wrong_lease")
    if len(set(lease.record.slots)) != asked.slots:
        raise PeerFault("a lease with another number of slots", code="wrong_lease")
    if not lease.record.grants:
        raise PeerFault("a lease whose slots the provider's account has not granted", code="no_grant")
    check_grants(Domain(chain_id=asked.chain_id, escrow=asked.escrow), asked.payee, lease)
    return lease


def _most(award: Award) -> int:
    return _MAX_ANSWER + _PER_SLOT * award.slots


def _envelope(said: Any) -> bytes:
    return said if isinstance(said, bytes) else b""
