"""The payee's money book: admits leases against confirmed deposits, keeps vouchers, turns them into money.

It must never count money that is not signed for, never promise one deposit to two leases, and never return from
:meth:`Payee.accept` before the voucher is on disk: a voucher that is lost is work that was given away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import trio
from msgspec.structs import replace

from ledger.lane import LaneBooks, LaneSummary, LeaseAccount, chain_seen, same_view, summarise
from ledger.lane_doubt import LaneDoubt
from ledger.lane_facts import (
    MAX_BOOKED,
    CloseConsented,
    Fact,
    LeaseClosed,
    LeaseCovered,
    LeaseOpened,
    TransactionMined,
)
from ledger.lane_journal import ClosedLease, LaneJournal
from ledger.lane_rules import (
    cover_possible,
    cover_target,
    facts_of_late_voucher,
    facts_of_voucher,
    has_room,
    view_good_until_ms,
)
from ledger.ports import Chain, Journal, LaneKey, LaneOnChain, Transaction
from ledger.redeem_plan import MAX_ROWS
from ledger.voucher import Domain, Voucher, check_voucher, close_digest, decode_voucher
from market.errors import InvalidRequest, PeerFault
from market.money import MAX_AMOUNT

MAX_CONSENT_S = 900
"""A close consent may not bind us for longer: no lease is admitted on the lane while it is alive."""

_REORG_MARGIN_S = 60
"""A reorg may bring back a chain time at which a consent was still alive."""


class Wallet(Protocol):
    """The account that is paid. ``sign`` gives a compact signature (64 bytes) over a 32-byte digest."""

    @property
    def address(self) -> bytes: ...
    def sign(self, digest: bytes) -> bytes: ...


class Payee:
    """Is paid for leases by vouchers.

    Args:
        chain: the settlement chain as seen by the account that redeems.
        wallet: the account that is paid.
        now_ms: UTC milliseconds; also the age of what we know of a lane.
        confirmations: blocks on top of a deposit before it counts.
        first_block: the first block that can hold something of ours.
    """

    def __init__(
        self,
        chain: Chain,
        journal: Journal,
        wallet: Wallet,
        now_ms: Callable[[], int],
        *,
        confirmations: int = 1,
        first_block: int = 0,
    ) -> None:
        self._chain = chain
        self._wallet = wallet
        self._now_ms = now_ms
        self._confirmations = confirmations
        self._domain = Domain(chain.chain_id, chain.escrow)
        self._lanes = LaneJournal(journal, "paid", self._domain, now_ms)
        self._doubt = LaneDoubt(chain, now_ms, first_block=first_block)
        self._redeeming = trio.StrictFIFOLock()

    @property
    def domain(self) -> Domain:
        """The signing domain of the escrow we are paid from."""
        return self._domain

    @property
    def exit_delay_s(self) -> int:
        """How long a payer's exit takes: until then a voucher can still be redeemed."""
        return self._chain.exit_delay_s

    async def load(self) -> None:
        """Read the books as the last run left them. Before anything else, and safe to repeat."""
        await self._lanes.load()

    def summary(self) -> tuple[LaneSummary, ...]:
        """All lanes as last seen, for the wallet view."""
        return tuple(summarise(self._lanes.books(lane)) for lane in self._lanes.lanes())

    def knows(self, lane: LaneKey) -> bool:
        """Whether we keep books of the lane."""
        return self._lanes.knows(lane)

    def cover_of(self, lease_id: bytes) -> int:
        """What is set aside for an open lease; 0 for others."""
        lane = self._lanes.lane_of(lease_id)
        account = self._lanes.books(lane).lease(lease_id) if lane else None
        return account.cover if account else 0

    def owed_cumulative(self, lane: LaneKey) -> int:
        """What the lane's newest voucher is for: the contract's ``claimed`` once all is paid."""
        return self._lanes.books(lane).signed

    async def lane_on_chain(self, lane: LaneKey) -> LaneOnChain:
        """The lane as the chain has it: money as deep as confirmed, a running exit as soon as it is seen."""
        async with self._lanes.locks(lane).books:
            return await self._observe(lane)

    async def admit(
        self,
        lease_id: bytes,
        lane: LaneKey,
        cap: int,
        cover: int | None = None,
        confirmations: int | None = None,
    ) -> bool:
        """Whether the lane's confirmed deposit covers this lease beside all that is owed and promised on it.

        True sets so much aside for good. May be asked again at any time, and for more.

        Args:
            cap: the most the lease may ever cost.
            cover: how much of the cap is to be set aside in all; all of it by default. No more than that is taken,
                as the payer may have deposited the rest for other leases.
            confirmations: blocks on top of the deposit, instead of the payee's own.

        Raises:
            PeerFault: ``wrong_lane``: the lane does not pay us.
            InvalidRequest: the lease is known with other terms, or is over.
        """
        if lane.payee != self._wallet.address:
            raise PeerFault("the lane pays somebody else", code="wrong_lane")
        if not 0 <= cap <= MAX_BOOKED:
            raise InvalidRequest(f"a lease cannot cost {cap} units", code="bad_cap")
        async with self._lanes.locks(lane).books:
            account = await self._account(lease_id, lane, cap)
            latest = await self._observe(lane, confirmations)
            books = self._lanes.books(lane)
            short = 0 < latest.delay_s < self._chain.exit_delay_s  # its payer could be gone before anybody looks
            if latest.exit_at or short or not has_room(books, account) or await self._close_may_come(books, latest):
                return False
            wanted = cover_target(account, cover)
            if cover_possible(books, account) < wanted:
                return False
            if facts := _facts_of_admission(books, account, wanted):
                await self._lanes.record(lane, *facts)
            return True

    async def accept(self, lease_id: bytes, amount: int, voucher: Voucher | bytes) -> None:
        """Take a voucher that pays ``amount`` in all for the lease. On disk when this returns; a replay is a no-op.

        Works while the chain is away as long as what we know of the lane is young enough to be still true.

        Args:
            voucher: the voucher, or its encoding as received.

        Raises:
            PeerFault: ``not_admitted``, ``wrong_lane``, ``over_cap``, ``too_small``, ``over_balance``, ``over_cover``,
                ``lane_closing`` or one of :func:`ledger.voucher.check_voucher`'s; nothing changed.
            Unavailable: the journal could not write, or the deposit had to be checked and the chain is away.
        """
        voucher = decode_voucher(voucher) if isinstance(voucher, bytes) else voucher
        # First of all: an unsigned claim must not make us ask the chain.
        check_voucher(self._domain, voucher)
        lane = self._lanes.lane_of(lease_id)
        if lane is None:
            ended = await self._lanes.closed_lease(lease_id)
            lane = ended.lane if ended else None
        if lane is None:
            raise PeerFault("no such lease is admitted", code="not_admitted")
        async with self._lanes.locks(lane).books:
            is_open = self._lanes.books(lane).lease(lease_id) is not None
            ended = None if is_open else await self._lanes.closed_lease(lease_id)
            decide = partial(_facts, lease_id, ended, amount, voucher)
            facts = await (self._judge_late(lane, decide) if ended else self._judge(lane, decide))
            if facts:
                await self._lanes.record(lane, *facts, urgent=True)

    async def release(self, lease_id: bytes) -> None:
        """The lease is over: its unused cover is free again. Nothing happens for an unknown lease."""
        lane = self._lanes.lane_of(lease_id)
        if lane is None:
            return
        async with self._lanes.locks(lane).books:
            if self._lanes.books(lane).lease(lease_id):
                await self._lanes.record(lane, LeaseClosed(lease_id=lease_id), urgent=True)

    def vouchers(self) -> list[Voucher]:
        """The newest voucher of each lane that may still be worth something: what a watchtower has to hold."""
        books = [self._lanes.books(lane) for lane in self._lanes.lanes()]
        return [_newest(one) for one in books if one.signature and one.signed > one.claimed]

    async def redeem(self, lanes: Sequence[LaneKey] | None = None) -> Transaction | None:
        """Turn the newest voucher of each lane into money, the most valuable first, at most ``MAX_ROWS``.

        The chain is asked what it would pay before anything is sent.

        Args:
            lanes: only these; all of them by default.

        Returns:
            The transaction, or None when nothing would be paid. Safe to repeat: the contract pays a voucher once.
        """
        async with self._redeeming:
            vouchers = await self._worth_redeeming(self._lanes.lanes() if lanes is None else lanes)
            rows = [one.row() for one in vouchers]
            if not rows or not await self._chain.preview_redeem(self._wallet.address, b"".join(rows)):
                return None
            exits = any(self._lanes.books(one.lane).exit_at for one in vouchers)
            mined = await self._chain.redeem_many(self._wallet.address, rows, urgent=exits)
            fact = TransactionMined(
                purpose="redeem", transaction=mined.hash, block=mined.block, succeeded=mined.succeeded
            )
            for voucher in vouchers:
                async with self._lanes.locks(voucher.lane).books:
                    await self._lanes.record(voucher.lane, fact)
                    await self._observe(voucher.lane)
            return mined

    async def consent_close(self, lane: LaneKey, cumulative: int, deadline_s: int) -> bytes:
        """Our signature that the lane may close at ``cumulative`` until ``deadline_s`` (UTC seconds).

        Until then, or until the lane has closed, no lease is admitted on it: its payer could close under it.

        Raises:
            PeerFault: ``wrong_lane``, ``lane_in_use``, ``too_small`` (we hold a voucher for more), ``over_balance``,
                ``nothing_held`` or ``bad_deadline``.
        """
        if lane.payee != self._wallet.address:
            raise PeerFault("the lane pays somebody else", code="wrong_lane")
        if not self._lanes.knows(lane) and (await self._chain.lane(lane)).balance == 0:
            # Asked before anything is remembered: lanes that do not exist can be made up without end.
            raise PeerFault("the lane holds nothing", code="nothing_held")
        async with self._lanes.locks(lane).books:
            latest = await self._observe(lane)
            books = self._lanes.books(lane)
            if books.leases:
                raise PeerFault("a lease is still paid from this lane", code="lane_in_use")
            if cumulative < books.signed:
                raise PeerFault(f"closing at {cumulative}, owed are {books.signed}", code="too_small")
            if cumulative > books.balance:
                raise PeerFault(f"closing at {cumulative}, held are {books.balance}", code="over_balance")
            if books.balance <= books.claimed:
                raise PeerFault("the lane holds nothing", code="nothing_held")
            now_s = (await self._chain.head()).timestamp
            if not now_s < deadline_s <= now_s + MAX_CONSENT_S:
                raise PeerFault("the deadline is past or too far away", code="bad_deadline")
            digest = close_digest(self._domain, lane, epoch=latest.epoch, cumulative=cumulative, deadline_s=deadline_s)
            # An older consent may outlive this one; the later deadline is what binds us.
            if books.consent and books.consent.epoch == latest.epoch:
                deadline_s = max(deadline_s, books.consent.deadline_s)
            fact = CloseConsented(epoch=latest.epoch, cumulative=cumulative, deadline_s=deadline_s)
            await self._lanes.record(lane, fact)
            return self._wallet.sign(digest)

    async def _judge(self, lane: LaneKey, decide: Callable[[LaneBooks], list[Fact]]) -> list[Fact]:
        """Decide on what we know of the lane, and ask the chain only if that is too old or the deposit too small."""
        if self._now_ms() < view_good_until_ms(self._lanes.books(lane), self._chain.exit_delay_s):
            try:
                return decide(self._lanes.books(lane))
            except PeerFault as fault:
                if fault.code not in ("over_balance", "over_cover"):
                    raise
        await self._observe(lane)
        return decide(self._lanes.books(lane))

    async def _judge_late(self, lane: LaneKey, decide: Callable[[LaneBooks], list[Fact]]) -> list[Fact]:
        """As :meth:`_judge` for a lease that is over: its payer may hold our consent to close below this voucher."""
        consent = self._lanes.books(lane).consent
        if consent is None or consent.epoch != self._lanes.books(lane).epoch:
            return await self._judge(lane, decide)
        latest = await self._observe(lane)
        facts = decide(self._lanes.books(lane))
        if facts and await self._close_may_come(self._lanes.books(lane), latest):
            raise PeerFault("the lane is about to close", code="lane_closing")
        return facts

    async def _account(self, lease_id: bytes, lane: LaneKey, cap: int) -> LeaseAccount:
        known_lane = self._lanes.lane_of(lease_id)
        if known_lane is None:
            if await self._lanes.closed_lease(lease_id):
                raise InvalidRequest("this lease is over", code="lease_over")
            return LeaseAccount(lease_id=lease_id, cap=cap)
        account = self._lanes.books(known_lane).lease(lease_id)
        if known_lane != lane or account is None or account.cap != cap:
            raise InvalidRequest("this lease is admitted with other terms", code="lease_differs")
        return account

    async def _close_may_come(self, books: LaneBooks, latest: LaneOnChain) -> bool:
        consent = books.consent
        if consent is None or consent.epoch != latest.epoch:
            return False
        return (await self._chain.head()).timestamp <= consent.deadline_s + _REORG_MARGIN_S

    async def _worth_redeeming(self, lanes: Sequence[LaneKey]) -> list[Voucher]:
        gains: list[tuple[int, Voucher]] = []
        for lane in lanes:
            books = self._lanes.books(lane)
            if not books.signature or books.signed <= books.claimed:
                continue
            found = await self._chain.lane(lane)
            gain = min(books.signed, found.balance) - found.claimed
            if gain > 0:
                gains.append((gain, _newest(books)))
        gains.sort(key=lambda one: (-one[0], one[1].lane))
        return [voucher for _, voucher in gains[:MAX_ROWS]]

    async def _observe(self, lane: LaneKey, confirmations: int | None = None) -> LaneOnChain:
        """Read the lane into the books. The caller holds its ``books`` lock.

        Money counts as deep as confirmed; a loss of it, an exit or a close counts as soon as it is seen.

        Raises:
            Unavailable: ``chain_doubted``: more drawn than we ever had signed; what we hold is not dropped for that.
        """
        look = partial(self._look, lane, self._confirmations if confirmations is None else confirmations)
        books = self._lanes.books(lane)
        # A lane without books is a stranger's, or its books were lost: there is no voucher that could be dropped.
        known = books.signed if self._lanes.knows(lane) else MAX_AMOUNT
        view = await self._doubt.settled(lane, await look(), signed=known, look=look)
        seen = chain_seen(view, self._now_ms())
        aged = seen.at_ms - books.seen_at_ms > self._chain.exit_delay_s * 250
        if (self._lanes.knows(lane) or view.balance) and (aged or not same_view(books, seen)):
            await self._lanes.record(lane, seen)
        return view

    async def _look(self, lane: LaneKey, depth: int) -> LaneOnChain:
        latest = await self._chain.lane(lane)
        confirmed = await self._chain.lane(lane, confirmations=depth) if depth else latest
        # Balances of two epochs do not compare: what was confirmed before a close is gone, and a deposit since then
        # of the same size would pass for it.
        settled = confirmed.balance if confirmed.epoch == latest.epoch else latest.claimed
        return replace(latest, balance=min(latest.balance, settled), claimed=confirmed.claimed)


def _newest(books: LaneBooks) -> Voucher:
    return Voucher(books.lane, books.signed, books.signature)


def _facts_of_admission(books: LaneBooks, account: LeaseAccount, cover: int) -> list[Fact]:
    facts: list[Fact] = []
    if books.lease(account.lease_id) is None:
        facts.append(LeaseOpened(lease_id=account.lease_id, cap=account.cap))
    if cover > account.cover:
        facts.append(LeaseCovered(lease_id=account.lease_id, cover=cover))
    return facts


def _facts(lease_id: bytes, ended: ClosedLease | None, amount: int, voucher: Voucher, books: LaneBooks) -> list[Fact]:
    if ended:
        account = LeaseAccount(lease_id=lease_id, cap=ended.cap, amount=ended.amount)
        return facts_of_late_voucher(books, account, amount, voucher)
    open_account = books.lease(lease_id)
    if open_account is None:
        raise PeerFault("no such lease is admitted", code="not_admitted")
    return facts_of_voucher(books, open_account, amount, voucher)
