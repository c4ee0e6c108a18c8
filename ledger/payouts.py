"""Sends earnings to their owner, never the same ones twice. The order is always: write down, then send.

A crash, or a chain that stops answering, can leave a payout of which nobody knows whether it was sent. Then nothing
more is sent until the chain has told: a transfer of that amount to that account since the payout was written down is
that payout; while a transaction of ours is on its way it may still come; and only when there is neither, on a chain
whose newest block is later than the intent by a good while, was it never sent. (A chain that lags behind shows no
transfer either. Its blocks are old, and by that it is told.)
"""

from __future__ import annotations

from collections.abc import Callable

import trio
from msgspec import Struct

from ledger.payout_rules import PayoutPlan, next_date, payout_due, surplus
from ledger.ports import Journal, JournalEntry, NewEntry
from ledger.token_account import TokenAccount
from ledger.voucher import Domain
from market.codec import pack_record, unpack_record
from market.errors import InvalidRequest, Unavailable

PATIENCE_MS = 120_000
"""So much later than a payout's intent must the chain's newest block be before the payout counts as never sent."""

LOOKS = 3
"""So often in a row must it not be there: one address may be many machines, and one of them behind the others."""


class PayoutsBegan(Struct, frozen=True, kw_only=True):
    """Payouts were switched on for the first time. ``paid_out`` is 0: what was earned before is owed as well."""

    at_ms: int


class PayoutIntended(Struct, frozen=True, kw_only=True):
    """Written before anything is sent. ``from_block`` was the newest block then."""

    number: int
    to: bytes
    amount: int
    from_block: int
    at_ms: int


class PayoutSettled(Struct, frozen=True, kw_only=True):
    """The payout happened, with this transaction, or never will."""

    number: int
    landed: bool
    transaction: bytes = b""
    block: int = 0


class PayoutBooks(Struct, frozen=True, kw_only=True):
    """Where payouts stand. ``open`` was intended, and its end is not known; ``last_transaction`` is the newest one."""

    began_ms: int
    last_ms: int = 0
    count: int = 0
    paid_out: int = 0
    last_transaction: bytes = b""
    open: PayoutIntended | None = None


FACTS: dict[str, type[Struct]] = {one.__name__: one for one in (PayoutsBegan, PayoutIntended, PayoutSettled)}


def apply(books: PayoutBooks | None, fact: Struct) -> PayoutBooks:
    """The books after a fact. Pure."""
    if isinstance(fact, PayoutsBegan):
        return books or PayoutBooks(began_ms=fact.at_ms)
    books = books or PayoutBooks(began_ms=0)
    changes = {name: getattr(books, name) for name in PayoutBooks.__struct_fields__}
    if isinstance(fact, PayoutIntended):
        return PayoutBooks(**{**changes, "count": fact.number, "open": fact})
    assert isinstance(fact, PayoutSettled)
    if fact.landed and books.open is not None:
        changes["paid_out"] += books.open.amount
        changes |= {"last_ms": books.open.at_ms, "last_transaction": fact.transaction}
    return PayoutBooks(**{**changes, "open": None})


class Payouts:
    """The payouts of one account on one escrow's token.

    Args:
        plan: None only looks at what was paid out before.
        patience_ms: see :data:`PATIENCE_MS`.
    """

    def __init__(
        self,
        tokens: TokenAccount,
        journal: Journal,
        plan: PayoutPlan | None,
        domain: Domain,
        now_ms: Callable[[], int],
        *,
        patience_ms: int = PATIENCE_MS,
    ) -> None:
        self.plan = plan
        self.account = tokens.account
        self._tokens = tokens
        self._journal = journal
        self._now_ms = now_ms
        self._patience_ms = patience_ms
        self._stream = f"payouts/{domain.chain_id}-{domain.escrow.hex()}/{tokens.account.hex()}"
        self._lock = trio.StrictFIFOLock()
        self._misses = 0
        self.books: PayoutBooks | None = None

    async def load(self) -> None:
        """Read the books as the last run left them. Safe to repeat."""
        raw = await self._journal.get(self._stream)
        self.books = unpack_record(raw, PayoutBooks) if raw is not None else None

    async def entries(self) -> list[JournalEntry]:
        """All facts, oldest first, for the wallet's history."""
        return await self._journal.read(self._stream)

    async def due(self, earned: int) -> tuple[int, int]:
        """What would be sent as things stand, and the first moment (UTC milliseconds) at which it may be.

        Raises:
            Unavailable: the chain does not answer.
        """
        if self.plan is None:
            return 0, 0
        return await self._surplus(self.plan, earned), next_date(self.plan, self._last_ms())

    async def step(self, earned: int) -> PayoutSettled | None:
        """Find out what became of an open payout, and send what is due; None when nothing is.

        Args:
            earned: what all lanes together have paid to this account over their whole life.

        Raises:
            Unavailable: the chain does not answer, or the last payout may still be on its way (``payout_pending``).
            InvalidRequest: the account cannot pay for the gas; nothing was sent.
        """
        plan = self.plan
        if plan is None:
            return None
        async with self._lock:
            if self.books is None:
                await self._record(PayoutsBegan(at_ms=self._now_ms()))
            await self._settle_open()
            amount, now_ms = await self._surplus(plan, earned), self._now_ms()
            if not payout_due(plan, amount=amount, last_ms=self._last_ms(), now_ms=now_ms):
                return None
            return await self._send(plan.to, amount, now_ms)

    def _last_ms(self) -> int:
        if self.books is None:
            return self._now_ms()
        return self.books.last_ms or self.books.began_ms

    async def _surplus(self, plan: PayoutPlan, earned: int) -> int:
        balance = await self._tokens.token_balance(self._tokens.account)
        return surplus(plan, balance=balance, earned=earned, paid_out=self.books.paid_out if self.books else 0)

    async def _send(self, to: bytes, amount: int, now_ms: int) -> PayoutSettled:
        number = (self.books.count if self.books else 0) + 1
        head = await self._tokens.head()
        await self._record(PayoutIntended(number=number, to=to, amount=amount, from_block=head.number, at_ms=now_ms))
        try:
            mined = await self._tokens.transfer(to, amount)
        except InvalidRequest:
            # The one answer that is sure: nothing was sent. After any other the intent stands until the chain tells.
            await self._record(PayoutSettled(number=number, landed=False))
            raise
        if not mined.succeeded:
            await self._record(PayoutSettled(number=number, landed=False, transaction=mined.hash, block=mined.block))
            raise Unavailable("the token refused the payout", code="payout_refused")
        # A token may take a call and move nothing. What its log says is what happened; and where the log does not have
        # it, it may be that another machine answered, which is behind. So that is not taken for an answer yet.
        await self._settle_open()
        return PayoutSettled(number=number, landed=True, transaction=mined.hash, block=mined.block)

    async def _settle_open(self) -> None:
        """Find out what became of a payout whose end was not written down.

        The pool is asked before the log: a payout that is mined between the two questions is then seen in the log.
        """
        pending = self.books.open if self.books else None
        if pending is None or self.books is None:
            return
        unmined = await self._tokens.unmined()
        seen, head = await self._tokens.transfers_since(pending.to, pending.from_block)
        ours = [one for one in seen if one.amount == pending.amount and one.transaction != self.books.last_transaction]
        if ours:
            found = ours[0]
            number = pending.number
            await self._record(
                PayoutSettled(number=number, landed=True, transaction=found.transaction, block=found.block)
            )
            self._misses = 0
            return
        too_early = unmined or head.timestamp * 1000 < pending.at_ms + self._patience_ms
        self._misses = 0 if too_early else self._misses + 1
        if self._misses < LOOKS:
            raise Unavailable("the last payout may still be on its way", code="payout_pending")
        self._misses = 0
        await self._record(PayoutSettled(number=pending.number, landed=False))

    async def _record(self, fact: Struct) -> None:
        after = apply(self.books, fact)
        entry = NewEntry(stream=self._stream, kind=type(fact).__name__, at_ms=self._now_ms(), body=pack_record(fact))
        await self._journal.append([entry], {self._stream: pack_record(after)})
        self.books = after
