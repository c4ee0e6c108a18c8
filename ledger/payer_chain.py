"""What a payer sends to the chain for its lanes: deposits, exits, closes. Each act happens once, whatever crashes.

A deposit is written down before it is sent. After a crash or a lost answer nobody knows whether it is on its way;
until the chain has told, nothing is sent again. The other acts need no such care: the contract refuses them a second
time. Whoever calls holds the lane's ``chain`` lock; vouchers do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ledger.lane import LaneBooks, chain_seen, same_view
from ledger.lane_doubt import LaneDoubt
from ledger.lane_facts import DepositIntended, DepositSettled, Fact, TransactionMined
from ledger.lane_journal import LaneJournal
from ledger.ports import Chain, LaneKey, Transaction
from market.errors import InvalidRequest, Unavailable


class PayerChain:
    """The chain side of :class:`ledger.payer.Payer`. Every method may raise Unavailable."""

    def __init__(
        self, chain: Chain, lanes: LaneJournal, now_ms: Callable[[], int], *, confirmations: int, first_block: int = 0
    ) -> None:
        self._chain = chain
        self.doubt = LaneDoubt(chain, now_ms, first_block=first_block)
        self._lanes = lanes
        self._now_ms = now_ms
        self._confirmations = confirmations

    async def observe(self, lane: LaneKey) -> LaneBooks:
        """Read the lane, as deep as confirmed, into the books.

        Raises:
            Unavailable: ``chain_doubted``: we never signed for what it says was drawn; the books stay as they are.
        """
        look = partial(self._chain.lane, lane, confirmations=self._confirmations)
        found = await look()
        async with self._lanes.locks(lane).books:
            books = self._lanes.books(lane)
            found = await self.doubt.settled(lane, found, signed=books.signed, look=look)
            seen = chain_seen(found, self._now_ms(), paying=True)
            return books if same_view(books, seen) else await self._lanes.record(lane, seen)

    async def settle_deposit(self, lane: LaneKey) -> None:
        """Find out what became of a deposit whose end was not written down.

        The pool is asked before the lane: a deposit that is mined between the two questions is then seen in the
        lane, and not taken for lost and sent again.

        Raises:
            Unavailable: ``deposit_pending``: in the pool, or not yet confirmed.
        """
        pending = self._lanes.books(lane).deposit
        if pending is None:
            return
        unmined = await self._chain.unmined()
        latest = await self._chain.lane(lane)
        target = pending.balance_before + pending.amount
        landed = latest.epoch != pending.epoch or latest.balance >= target
        if not landed and unmined:
            raise Unavailable("an earlier deposit may still be on its way", code="deposit_pending")
        books = await self.observe(lane)
        if landed and books.epoch == pending.epoch and books.balance < target:
            raise Unavailable("the deposit is not confirmed yet", code="deposit_pending")
        await self._record(lane, DepositSettled(amount=pending.amount, landed=landed))

    async def deposit(self, lane: LaneKey, amount: int) -> Transaction:
        """Deposit into the lane, written down first.

        Raises:
            InvalidRequest: the wallet is short of tokens or gas; nothing was sent.
            Unavailable: ``deposit_reverted``, ``deposit_pending`` or the chain's own.
        """
        before = self._lanes.books(lane).balance
        await self._record(lane, DepositIntended(amount=amount, balance_before=before))
        try:
            mined = await self._chain.deposit(lane.payee, lane.signer, amount)
        except InvalidRequest:
            # The one answer that is sure: nothing was sent. After any other the intent stands until the chain tells.
            await self._record(lane, DepositSettled(amount=amount, landed=False))
            raise
        await self._mined(lane, "deposit", mined)
        if not mined.succeeded:
            await self._record(lane, DepositSettled(amount=amount, landed=False))
            raise Unavailable("the escrow refused the deposit", code="deposit_reverted")
        await self.settle_deposit(lane)
        return mined

    async def cancel_exit(self, lane: LaneKey) -> LaneBooks:
        """Stop a running exit of ours.

        Raises:
            Unavailable: ``exit_running``: the lane still exits.
        """
        await self._mined(lane, "cancel_exit", await self._chain.cancel_exit(lane.payee, lane.signer))
        books = await self.observe(lane)
        if books.exit_at:
            raise Unavailable("the exit of the lane could not be cancelled", code="exit_running")
        return books

    async def start_exit(self, lane: LaneKey) -> Transaction | None:
        """Start an exit; None when one runs or the lane holds nothing."""
        books = await self.observe(lane)
        if books.exit_at or books.balance <= books.claimed:
            return None
        return await self._done(lane, "start_exit", await self._chain.start_exit(lane.payee, lane.signer))

    async def finish_exit_when_due(self, lane: LaneKey) -> Transaction | None:
        """Finish an exit whose window is over by the chain's clock; None when there is nothing to do yet."""
        books = await self.observe(lane)
        if not books.exit_at or (await self._chain.head()).timestamp < books.exit_at:
            return None
        return await self._done(lane, "finish_exit", await self._chain.finish_exit(lane))

    async def close_together(self, lane: LaneKey, *, cumulative: int, deadline_s: int, consent: bytes) -> Transaction:
        """Close the lane with the payee's consent; our own account sends, so it needs no signature of ours."""
        mined = await self._chain.close_together(
            lane, cumulative=cumulative, deadline_s=deadline_s, payee_signature=consent, payer_signature=b""
        )
        return await self._done(lane, "close_together", mined)

    async def _done(self, lane: LaneKey, purpose: str, mined: Transaction) -> Transaction:
        await self._mined(lane, purpose, mined)
        await self.observe(lane)
        return mined

    async def _mined(self, lane: LaneKey, purpose: str, mined: Transaction) -> None:
        fact = TransactionMined(purpose=purpose, transaction=mined.hash, block=mined.block, succeeded=mined.succeeded)
        await self._record(lane, fact)

    async def _record(self, lane: LaneKey, fact: Fact) -> None:
        async with self._lanes.locks(lane).books:
            await self._lanes.record(lane, fact)
