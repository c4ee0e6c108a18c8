"""The transactions of one account that are on their way: looked at together, sent again, raised, seen through.

A transaction that is not mined is sent again with the same nonce and a higher fee, so of all its forms at most one ever
happens; each form is written down before it is sent. One that a reorganisation took back is sent again. Where there are
several endpoints, one alone is not believed that a transaction is mined, displaced or stuck.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from math import inf
from secrets import randbelow

import trio
from msgspec import Struct
from msgspec.structs import replace

from ledger import evm_account
from ledger.evm_rpc import EvmRpc
from ledger.flight_steps import Progress, Sight, Step, StepRules, next_step
from ledger.gas_fees import GWEI, Fee, FeeCaps, opening_fee, raised_fee
from ledger.outbox import MAX_FORMS, Flight, Form, Outbox
from ledger.ports import Transaction
from ledger.transaction_signing import TransactionSigner, UnsignedTransaction, check_signed
from market.errors import BrokenInvariant, FabricError, InvalidRequest, Unavailable

log = logging.getLogger(__name__)
FILLER_GAS = 21_000


class SendPolicy(Struct, frozen=True, kw_only=True):
    """How hard to try. ``confirmations`` are blocks on top of the transaction's own until its sender is told;
    ``final_after`` those until a reorganisation is no longer feared.

    ``fee_cap_wei`` bounds what a unit of gas may cost us, ``urgent_cap_wei`` in an urgent transaction; dearer gas is
    waited out for ``fee_patience_s``. ``bump_after_s`` is the patience with a fee before it is raised, ``patience_s``
    that with a chain that does not answer in the middle of a send.
    """

    confirmations: int = 1
    final_after: int = 12
    poll_ms: int = 500
    keep_s: float = 2.0
    fee_cap_wei: int = 500 * GWEI
    urgent_cap_wei: int = 2_000 * GWEI
    bump_after_s: float = 30.0
    patience_s: float = 60.0
    fee_patience_s: float = 600.0


class SendingView(Struct, frozen=True, kw_only=True):
    """For the status page: transactions that are not mined yet, and what the account waits for, if anything."""

    unmined: int
    waiting: str


class Call(Struct, frozen=True):
    """What a transaction asks of the chain; ``to`` None deploys ``data``."""

    to: bytes | None
    data: bytes
    value: int


class EvmFlights:
    """What one account has under way.

    Attributes:
        caps: what gas may cost.
        waiting: what a transaction waits for, in words; empty when none does.
        nonce_lock: held from the choice of a nonce until it is written down. Nothing else is waited for meanwhile.
    """

    def __init__(
        self, rpc: EvmRpc, signer: TransactionSigner, *, chain_id: int, policy: SendPolicy, outbox: Outbox
    ) -> None:
        self._rpc = rpc
        self._signer = signer
        self._account = signer.account
        self._chain_id = chain_id
        self._policy = policy
        self._outbox = outbox
        self.caps = FeeCaps(usual=policy.fee_cap_wei, urgent=policy.urgent_cap_wei)
        # Without a journal nobody looks after a transaction once its sender was told.
        final_after = policy.final_after if outbox.durable else 0
        self._rules = StepRules(bump_after_s=policy.bump_after_s, final_after=final_after)
        self._progress: dict[int, Progress] = {}
        self._lock = trio.Lock()
        self.nonce_lock = trio.Lock()
        self._looked_at = -1e9
        self._gap_since = inf
        self.waiting = ""

    @property
    def next_nonce(self) -> int:
        """Above every nonce of ours that may have been used."""
        return self._outbox.next_nonce

    @property
    def durable(self) -> bool:
        """Whether what is under way outlives the process, and will be seen through."""
        return self._outbox.durable

    def progress(self, nonce: int) -> Progress:
        """Of an open flight."""
        return self._progress[nonce]

    def unmined(self) -> list[Flight]:
        """Flights that are in no block, as of the last look."""
        return [
            flight
            for flight in self._outbox.open()
            if (progress := self._progress.get(flight.nonce)) is None or progress.mined is None
        ]

    def any_open(self) -> bool:
        """Whether anything is under way or not final yet."""
        return bool(self._outbox.open())

    def taken_back(self) -> bool:
        """Whether a transaction whose sender was told that it is mined is not mined any more."""
        return any(progress.told and progress.mined is None for progress in self._progress.values())

    def orphan(self, call: Call) -> Flight | None:
        """An unmined transaction with this very call that nobody waits for or was told of."""
        for flight in self.unmined():
            progress = self._progress.get(flight.nonce)
            if progress is not None and not progress.owned and not progress.told and _call_of(flight) == call:
                return flight
        return None

    async def begin(
        self,
        asked: UnsignedTransaction,
        *,
        urgent: bool,
        confirmations: int,
        owned: bool = True,
        instead_of: Flight | None = None,
    ) -> Flight:
        """Sign the first form of a transaction and write it down; who owns it sends it.

        Args:
            asked: with a nonce that was chosen within ``nonce_lock``.
            instead_of: as for ``Outbox.write``.
        """
        asked = _salted(asked)
        flight = Flight(nonce=asked.nonce, raw=b"", forms=(), urgent=urgent)
        flight = await self._signed(asked, flight, instead_of=instead_of)
        progress = Progress(sent_at=trio.current_time(), confirmations=confirmations, owned=owned, launching=owned)
        self._progress[flight.nonce] = progress
        return flight

    async def make_urgent(self, flight: Flight) -> None:
        """Let the higher cap count for a transaction, and for those it waits for."""
        if not flight.urgent:
            await self._outbox.write(replace(flight, urgent=True))

    async def drop(self, flight: Flight) -> None:
        """Forget a transaction that every endpoint refused."""
        self._progress.pop(flight.nonce, None)
        await self._outbox.end(flight, "refused")

    async def resume(self) -> None:
        """Read what the last run may have sent, and send it again: the same bytes, which happen once at most."""
        await self._outbox.load()
        for flight in self._outbox.open():
            depth = self._policy.confirmations
            progress = Progress(sent_at=trio.current_time(), confirmations=depth, told=flight.told)
            self._progress[flight.nonce] = progress
            log.info("going on with transaction %d of the last run", flight.nonce)
            await self._send_bytes(flight, progress)

    async def keep(self) -> None:
        """See transactions through that nobody waits for, and watch mined ones until they are final. Never returns."""
        while True:
            with suppress(Unavailable):
                await self.round()
            await trio.sleep(self._policy.keep_s)

    def view(self) -> SendingView:
        """What is under way, for people."""
        return SendingView(unmined=len(self.unmined()), waiting=self.waiting)

    async def round(self, *, fresh: bool = False) -> None:
        """Look at every transaction on its way, and do what is next for each. Tasks that wait share their looks."""
        async with self._lock:
            flights = self._outbox.open()
            if not flights or (not fresh and trio.current_time() < self._looked_at + self._policy.poll_ms / 2000):
                return
            look = await self._rpc.ask(partial(evm_account.look, account=self._account, flights=flights))
            self._looked_at = trio.current_time()
            stuck_first = False
            for flight in flights:
                progress = self._progress.get(flight.nonce)
                if progress is None or self._outbox.get(flight.nonce) is None:
                    continue  # Refused meanwhile.
                step = next_step(progress, look.sights[flight.nonce], self._looked_at, self._rules)
                if step is Step.RAISE and stuck_first:
                    # What is behind a stuck one waits for that one; a higher fee of its own would not help it.
                    step = Step.SEND_AGAIN
                stuck_first = stuck_first or progress.mined is None
                await self._act(step, flight, progress, look.sights[flight.nonce])
            await self._mend_gap(look.count)

    async def _act(self, step: Step, flight: Flight, progress: Progress, sight: Sight) -> None:
        if step is Step.CONFIRM:
            await self._confirm(flight, progress, sight)
        elif step is Step.FINISH:
            await self._end(flight, "mined", progress.mined)
        elif step is Step.DISPLACED:
            await self._displace(flight, progress)
        elif step is Step.RAISE:
            await self._raise(flight, progress)
        elif step is Step.SEND_AGAIN:
            await self._send_bytes(flight, progress)

    async def _confirm(self, flight: Flight, progress: Progress, sight: Sight) -> None:
        found = progress.mined
        if found is None:
            return
        if self._rpc.several:
            # A single endpoint must not talk us into a payment that did not happen.
            answers = await self._rpc.ask_each(partial(evm_account.receipt, hash=found.hash))
            if any(answer.value != found for answer in answers):
                return
        progress.done, progress.told = found, True
        await self._outbox.confirm(flight, found)
        if sight.head >= found.block + self._rules.final_after:
            await self._end(flight, "mined", found)

    async def _displace(self, flight: Flight, progress: Progress) -> None:
        # As deep as final: if a reorganisation could take the other transaction back, this one might yet happen, and
        # its act twice when it is repeated.
        depth = max(progress.confirmations, self._rules.final_after)
        question = partial(evm_account.displaced, account=self._account, flight=flight, confirmations=depth)
        if not all(answer.value for answer in await self._rpc.ask_each(question)):
            return
        # (What an old copy of the journal holds may have been mined in a form that the copy lacks.)
        log.warning("transaction %d was displaced: another program uses this account's key", flight.nonce)
        if self._outbox.durable and flight.nonce not in self._outbox.copied:
            await self._again(flight, progress)
            return
        progress.displaced = True
        await self._end(flight, "displaced", None)

    async def _again(self, flight: Flight, progress: Progress) -> None:
        """Do a displaced flight's work with a new nonce, for whoever waits for it. Its own can never be mined."""
        terms = await self._rpc.ask(partial(evm_account.terms_of, account=self._account))
        fee = opening_fee(terms.market, self.caps, urgent=flight.urgent)
        if fee is None:
            self.waiting = f"transaction {flight.nonce} has to be made anew, and gas is above its cap"
            return  # Displaced it stays; the next look leads here again.
        async with self.nonce_lock:
            asked = replace(_as_unsigned(flight, self._chain_id, fee), nonce=max(terms.nonce, self._outbox.next_nonce))
            try:
                anew = await self.begin(
                    asked, urgent=flight.urgent, confirmations=progress.confirmations, instead_of=flight
                )
            except InvalidRequest as error:
                # The signer says no, as at its limit for the day. To whoever waits for another transaction, or looks
                # after all of them, that would mean that his own was never sent: it would be paid twice.
                self.waiting = f"transaction {flight.nonce} has to be made anew: {error.message}"
                return
        self._progress.pop(flight.nonce, None)
        # Who waits for the displaced one holds its progress, and waits for this one from now on.
        progress.mined, progress.told, progress.misses, progress.launching = None, False, 0, False
        self._progress[anew.nonce] = progress
        await self._send_bytes(anew, progress)

    async def _mend_gap(self, count: int) -> None:
        """Fill a nonce below all of ours that nobody uses, as nothing of ours could ever be mined.

        It was another program's, whose transaction was dropped. The filler moves nothing.
        """
        waiting, now = self.unmined(), trio.current_time()
        if not waiting or waiting[0].nonce <= count:
            self._gap_since = inf
            return
        self._gap_since = min(self._gap_since, now)
        if now < self._gap_since + 2 * self._policy.bump_after_s:
            return
        question = partial(evm_account.terms_of, account=self._account)
        terms = [answer.value for answer in await self._rpc.ask_each(question)]
        fee = opening_fee(terms[0].market, self.caps, urgent=self._is_urgent(waiting[0]))
        if fee is None or any(one.nonce != count for one in terms):
            return  # Too dear, or its owner's transaction is there again.
        log.warning("nonce %d is used by nobody: it is filled, as later ones wait for it", count)
        asked = UnsignedTransaction(
            chain_id=self._chain_id,
            nonce=count,
            to=self._account,
            data=b"",
            value=0,
            gas=FILLER_GAS,
            fee_cap=fee.most,
            tip_cap=fee.tip,
        )
        flight = await self.begin(asked, urgent=False, confirmations=self._policy.confirmations, owned=False)
        await self._send_bytes(flight, self._progress[flight.nonce])

    async def _raise(self, flight: Flight, progress: Progress) -> None:
        """Sign once more at a higher fee, within the cap, and send; at the cap, send the same bytes again."""
        if self._rpc.several:
            question = partial(evm_account.look, account=self._account, flights=[flight])
            if any(answer.value.sights[flight.nonce].used for answer in await self._rpc.ask_each(question)):
                progress.sent_at = trio.current_time()
                return  # Mined, as others see it: the first endpoint is behind.
        market = await self._rpc.ask(evm_account.market_of)
        newest = flight.forms[-1]
        cap = self.caps.of(urgent=self._is_urgent(flight))
        fee = raised_fee(Fee(newest.fee_cap, newest.tip_cap), market, cap)
        self.waiting = "" if fee else f"transaction {flight.nonce} waits for gas below its cap of {cap} wei"
        if fee and len(flight.forms) < MAX_FORMS:
            asked = _as_unsigned(flight, self._chain_id, fee)
            # A full disk or a signer that is away: the form that is out there stays.
            with suppress(FabricError):
                flight = await self._signed(asked, flight)
        await self._send_bytes(flight, progress)

    def _is_urgent(self, flight: Flight) -> bool:
        """Whether it is urgent, or something urgent can only be mined after it."""
        return any(other.urgent for other in self.unmined() if other.nonce >= flight.nonce)

    async def _send_bytes(self, flight: Flight, progress: Progress) -> None:
        progress.sent_at = trio.current_time()
        # Mined meanwhile, known already, or the chain is away: the next look tells which.
        with suppress(Unavailable):
            await self._rpc.tell(partial(evm_account.send_raw, raw=flight.raw))

    async def _end(self, flight: Flight, end: str, found: Transaction | None) -> None:
        self._progress.pop(flight.nonce, None)
        self.waiting = ""
        await self._outbox.end(flight, end, found.hash if found else b"")

    async def _signed(self, asked: UnsignedTransaction, flight: Flight, *, instead_of: Flight | None = None) -> Flight:
        """Sign a form of a flight and write it down."""
        if asked.fee_cap > self.caps.of(urgent=True):
            raise BrokenInvariant("a fee above the cap")
        signed = await self._signer.sign(asked)
        check_signed(asked, signed, self._account)
        form = Form(hash=signed.hash, fee_cap=asked.fee_cap, tip_cap=asked.tip_cap)
        return await self._outbox.write(
            replace(flight, raw=signed.raw, forms=(*flight.forms, form)), instead_of=instead_of
        )


def _call_of(flight: Flight) -> Call:
    asked = flight.call()
    return Call(None if asked.to is None else bytes.fromhex(asked.to[2:]), asked.data, asked.value)


def _salted(asked: UnsignedTransaction) -> UnsignedTransaction:
    """The same with a little chance in it, so that it equals no other program's to the last bit: a chain that has its
    hash has ours. Gas that is not used costs nothing, and the tip only falls."""
    return replace(
        asked,
        gas=asked.gas + randbelow(4096),
        tip_cap=asked.tip_cap - randbelow(min(asked.tip_cap, 2**20) + 1),
    )


def _as_unsigned(flight: Flight, chain_id: int, fee: Fee) -> UnsignedTransaction:
    call = _call_of(flight)
    return UnsignedTransaction(
        chain_id=chain_id,
        nonce=flight.nonce,
        to=call.to,
        data=call.data,
        value=call.value,
        gas=flight.call().gas,
        fee_cap=fee.most,
        tip_cap=fee.tip,
    )
