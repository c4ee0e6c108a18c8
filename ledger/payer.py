"""The payer's money book: funds lanes, vouches for leases, takes unused money back.

Every method may be repeated after a crash or a lost answer. The order is always: write down, then act. It must never
sign above a lease's cap or above what the lane holds, and never promise one deposit to two leases.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from ledger.lane import MAX_OPEN_LEASES, LaneBooks, LaneSummary, LeaseAccount, summarise
from ledger.lane_facts import MAX_BOOKED, AmountVouched, LeaseClosed, LeaseCovered, LeaseOpened
from ledger.lane_journal import LaneJournal
from ledger.lane_rules import cover_target, cumulative_for, shortfall
from ledger.payer_chain import PayerChain
from ledger.ports import Chain, Journal, LaneKey, Transaction
from ledger.voucher import (
    Domain,
    SessionKey,
    Voucher,
    check_close_consent,
    close_digest,
    lane_proof_digest,
    sign_voucher,
)
from market.errors import InvalidRequest, Unavailable


class CloseProposal(Struct, frozen=True, kw_only=True):
    """What the payee is asked to consent to: the lane's final split, valid until ``deadline_s`` (UTC seconds)."""

    lane: LaneKey
    epoch: int
    cumulative: int
    deadline_s: int


class Payer:
    """Pays for leases from lanes whose vouchers ``session_key`` signs.

    Args:
        chain: the settlement chain as seen by the account that pays.
        now_ms: UTC milliseconds, for journal entries only.
        confirmations: blocks on top of a deposit before we sign against it.
        first_block: the first block that can hold something of ours.
    """

    def __init__(
        self,
        chain: Chain,
        journal: Journal,
        session_key: SessionKey,
        now_ms: Callable[[], int],
        *,
        confirmations: int = 0,
        first_block: int = 0,
    ) -> None:
        self._account = chain.account
        self._head = chain.head
        self._key = session_key
        self._domain = Domain(chain.chain_id, chain.escrow)
        self._lanes = LaneJournal(journal, "paying", self._domain, now_ms)
        self._chain = PayerChain(chain, self._lanes, now_ms, confirmations=confirmations, first_block=first_block)

    async def load(self) -> None:
        """Read the books as the last run left them. Before anything else, and safe to repeat."""
        await self._lanes.load()

    def lane(self, payee: bytes) -> LaneKey:
        """The lane on which we pay ``payee``."""
        return LaneKey(payer=self._account, payee=payee, signer=self._key.address)

    def is_ours(self, lane: LaneKey) -> bool:
        """Whether vouchers of our key draw from the lane, or it is in our books. Others may be a stranger's doing."""
        return (lane.payer == self._account and lane.signer == self._key.address) or self._lanes.knows(lane)

    def prove_lane(self, payee: bytes, subject: bytes) -> bytes:
        """Our session key's signature that a request about the lane to ``payee`` is ours."""
        return self._key.sign(lane_proof_digest(self._domain, self.lane(payee), subject))

    def summary(self) -> tuple[LaneSummary, ...]:
        """All lanes as last seen, for the wallet view."""
        return tuple(summarise(self._lanes.books(lane)) for lane in self._lanes.lanes())

    async def reserve(self, lease_id: bytes, payee: bytes, cap: int) -> None:
        """Register a lease that may cost at most ``cap``. Sets nothing aside yet.

        Raises:
            InvalidRequest: the lease is known with other terms or is over, or the lane has too many.
        """
        lane = self.lane(payee)
        async with self._lanes.locks(lane).books:
            known_lane = self._lanes.lane_of(lease_id)
            if known_lane is not None:
                account = self._lanes.books(known_lane).lease(lease_id)
                if known_lane != lane or account is None or account.cap != cap:
                    raise InvalidRequest("this lease is reserved with other terms", code="lease_differs")
                return
            if await self._lanes.closed_lease(lease_id):
                raise InvalidRequest("this lease is over", code="lease_over")
            if not 0 <= cap <= MAX_BOOKED:
                raise InvalidRequest(f"a lease cannot cost {cap} units", code="bad_cap")
            if len(self._lanes.books(lane).leases) >= MAX_OPEN_LEASES:
                raise InvalidRequest("too many open leases with this provider", code="too_many_leases")
            await self._lanes.record(lane, LeaseOpened(lease_id=lease_id, cap=cap, paying=True))

    def cover_of(self, lease_id: bytes) -> int:
        """What is set aside for an open lease; 0 for others."""
        lane = self._lanes.lane_of(lease_id)
        account = self._lanes.books(lane).lease(lease_id) if lane else None
        return account.cover if account else 0

    async def ensure_funded(
        self, lease_id: bytes, cover: int | None = None, *, may_deposit: bool = True
    ) -> Transaction | None:
        """Make sure that the lane covers the lease beside all it owes and has promised.

        Cancels a running exit of ours first: the newer wish counts. None when no deposit was needed.

        Args:
            cover: how much of the lease's cap, in all; all of it by default.
            may_deposit: False to use only what the lane holds already.

        Raises:
            Unavailable: the chain does not answer, or an earlier deposit may still be on its way
                (``deposit_pending``); ask again.
            InvalidRequest: unknown lease, or the wallet is short of tokens or gas; ``not_covered`` when the lane holds
                too little and nothing may be deposited.
        """
        lane, _ = self._open_lease(lease_id)
        async with self._lanes.locks(lane).chain:
            await self._chain.settle_deposit(lane)
            books = await self._chain.observe(lane)
            if books.exit_at:
                books = await self._chain.cancel_exit(lane)
            _, account = self._open_lease(lease_id)
            missing = shortfall(books, account, cover)
            if missing and not may_deposit:
                raise InvalidRequest(f"the lane lacks {missing} units for this lease", code="not_covered")
            deposited = await self._chain.deposit(lane, missing) if missing else None
            await self._cover(lane, lease_id, cover)
            return deposited

    async def acknowledge(self, lease_id: bytes, amount: int) -> Voucher:
        """A voucher that pays ``amount`` in all for the lease. Durable before it is returned.

        An amount that was vouched for before, or a smaller one, is answered with the lane's newest voucher.

        Raises:
            PeerFault: ``over_cap`` or ``over_balance``: the payee asks more than was agreed or covered.
            InvalidRequest: ``unknown_lease``, or ``lease_over`` for a lease that was released below ``amount``.
            Unavailable: the journal could not write; nothing was signed.
        """
        lane = self._lanes.lane_of(lease_id)
        if lane is None:
            return await self._acknowledged_before(lease_id, amount)
        async with self._lanes.locks(lane).books:
            books = self._lanes.books(lane)
            account = books.lease(lease_id)
            if account is None:
                return await self._acknowledged_before(lease_id, amount)
            if amount <= account.amount:
                return self._newest(books)
            cumulative = cumulative_for(books, account, amount)
            voucher = sign_voucher(self._key, self._domain, lane, cumulative)
            fact = AmountVouched(lease_id=lease_id, amount=amount, cumulative=cumulative, signature=voucher.signature)
            await self._lanes.record(lane, fact, urgent=True)
            return voucher

    async def release(self, lease_id: bytes) -> None:
        """The lease is over: what it did not use of its cap is free again. Nothing happens for an unknown lease."""
        lane = self._lanes.lane_of(lease_id)
        if lane is None:
            return
        async with self._lanes.locks(lane).books:
            if self._lanes.books(lane).lease(lease_id):
                await self._lanes.record(lane, LeaseClosed(lease_id=lease_id), urgent=True)

    async def refundable(self, payee: bytes) -> int:
        """What a close would bring back now: deposit that is neither owed nor promised."""
        lane = self.lane(payee)
        async with self._lanes.locks(lane).chain:
            books = await self._chain.observe(lane)
        return max(0, books.free)

    async def start_close(self, payee: bytes, *, valid_s: int = 600) -> CloseProposal:
        """Propose to close the lane at what we signed. Send it to the payee, then call :meth:`finish_close`.

        Raises:
            InvalidRequest: ``lane_in_use``: a lease still pays from it.
        """
        lane = self.lane(payee)
        async with self._lanes.locks(lane).chain:
            books = await self._chain.observe(lane)
            self._refuse_if_in_use(books)
            head = await self._head()
        return CloseProposal(lane=lane, epoch=books.epoch, cumulative=books.signed, deadline_s=head.timestamp + valid_s)

    async def finish_close(self, proposal: CloseProposal, consent: bytes) -> Transaction | None:
        """Close the lane with the payee's consent. None when a repeated call finds it closed already.

        Raises:
            PeerFault: the consent is not the payee's signature.
            InvalidRequest: ``lane_in_use``, or ``stale_proposal`` when something was signed since.
        """
        lane = proposal.lane
        digest = close_digest(
            self._domain,
            lane,
            epoch=proposal.epoch,
            cumulative=proposal.cumulative,
            deadline_s=proposal.deadline_s,
        )
        check_close_consent(digest, consent, lane.payee)
        async with self._lanes.locks(lane).chain:
            books = await self._chain.observe(lane)
            if books.epoch != proposal.epoch:
                return None
            self._refuse_if_in_use(books)
            if books.signed != proposal.cumulative:
                raise InvalidRequest("more was signed since the proposal", code="stale_proposal")
            return await self._chain.close_together(
                lane, cumulative=proposal.cumulative, deadline_s=proposal.deadline_s, consent=consent
            )

    async def begin_exit(self, payee: bytes, *, force: bool = False) -> Transaction | None:
        """Start to take the lane's money back without the payee. None when an exit runs or nothing is held.

        Raises:
            InvalidRequest: ``lane_in_use`` unless ``force``: the payee stops such leases when it sees the exit.
        """
        lane = self.lane(payee)
        async with self._lanes.locks(lane).chain:
            await self._chain.settle_deposit(lane)
            if not force:
                self._refuse_if_in_use(self._lanes.books(lane))
            return await self._chain.start_exit(lane)

    async def finish_exit_when_due(self, payee: bytes) -> Transaction | None:
        """Finish a running exit if its window is over by the chain's clock. None when there is nothing to do yet."""
        lane = self.lane(payee)
        async with self._lanes.locks(lane).chain:
            return await self._chain.finish_exit_when_due(lane)

    async def _cover(self, lane: LaneKey, lease_id: bytes, cover: int | None) -> None:
        async with self._lanes.locks(lane).books:
            books = self._lanes.books(lane)
            account = books.lease(lease_id)
            if account is None or account.cover == cover_target(account, cover):
                return
            if shortfall(books, account, cover):
                raise Unavailable("the deposit is not in the lane (any more)", code="deposit_pending")
            await self._lanes.record(lane, LeaseCovered(lease_id=lease_id, cover=cover_target(account, cover)))

    async def _acknowledged_before(self, lease_id: bytes, amount: int) -> Voucher:
        ended = await self._lanes.closed_lease(lease_id)
        if ended is None:
            raise InvalidRequest("no such lease is reserved", code="unknown_lease")
        if amount > ended.amount:
            raise InvalidRequest("this lease is over", code="lease_over")
        return self._newest(self._lanes.books(ended.lane))

    def _newest(self, books: LaneBooks) -> Voucher:
        signature = books.signature or None
        if signature is None:
            return sign_voucher(self._key, self._domain, books.lane, books.signed)
        return Voucher(books.lane, books.signed, signature)

    def _open_lease(self, lease_id: bytes) -> tuple[LaneKey, LeaseAccount]:
        lane = self._lanes.lane_of(lease_id)
        account = self._lanes.books(lane).lease(lease_id) if lane else None
        if lane is None or account is None:
            raise InvalidRequest("no such lease is reserved", code="unknown_lease")
        return lane, account

    def _refuse_if_in_use(self, books: LaneBooks) -> None:
        if books.leases:
            raise InvalidRequest(
                "a lease still pays from this lane", code="lane_in_use", fix="wait for the lease or cancel it"
            )
