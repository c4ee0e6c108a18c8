"""Two parties, a lossy mail between them, a chain that forks, and a truth that neither of them sees.

The money books are the real ones (``ledger.Payer``, ``ledger.Payee``) and are driven through their public methods
only. Around them is the tick loop of the market in its barest form: the provider works, asks for what it worked, and
stops when as much as the printed exposure (a tick and the grace time) is unpaid; the requester pays what its own
stopwatch allows. What was really worked, vouched and acknowledged is kept here, and :meth:`TwoParties.judge` compares
it with what the chain paid.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import trio

from ledger.payee import Payee
from ledger.payer import Payer
from ledger.ports import LaneKey
from ledger.voucher import SessionKey, encode_voucher
from market.errors import InvalidRequest, PeerFault, Unavailable
from tests.fakes.lane_world import TrioClock
from tests.fakes.mortal_parts import Fate, ForkingChain, Killed, MortalJournal, MortalView

TICK_S, GRACE_S = 1, 2
CONFIRMATIONS = 2
EXIT_DELAY_S = 3600
TOKENS = 1_000_000
PAYER, PAYEE, SESSION = (SessionKey(bytes([n]) * 32) for n in (1, 2, 3))
REFUSED = object()
LANE = LaneKey(payer=PAYER.address, payee=PAYEE.address, signer=SESSION.address)


@dataclass
class Job:
    """One lease, as it truly is. Amounts in units."""

    lease: bytes
    price: int
    cap: int
    cover: int
    admitted: int = 0
    started: float | None = None
    seen: float = 0.0
    worked: int = 0
    accepted: int = 0
    accepted_at: float = 0.0
    approved: int = 0
    vouched: int = 0
    funded: int = 0
    ended: bool = False

    @property
    def exposure(self) -> int:
        """What either side was told it can lose at most."""
        return self.price * (TICK_S + GRACE_S)

    def stopwatch(self, now: float) -> int:
        """The most the requester's own clock allows the job to have cost."""
        return 0 if self.started is None else min(self.cap, int(self.price * (now - self.started)) + 1)


@dataclass
class Side:
    """One process: its journal outlives it, and an old copy of that may be put back."""

    fate: Fate
    journal: MortalJournal
    view: MortalView
    kept: tuple[MortalJournal, int] | None = None
    restored: bool = False
    lost: int = 0
    """What was acknowledged since the copy that was put back was made: no book can know of it."""


class Found(AssertionError):
    """Somebody lost more than was printed."""


@dataclass
class TwoParties:
    """A world for one history. ``payer_kind`` and ``payee_kind`` are what is put to the test."""

    random: Random
    payer_kind: type[Payer] = Payer
    payee_kind: type[Payee] = Payee
    requester_honest: bool = True
    provider_honest: bool = True
    watches_exits: bool = True
    works_until: Callable[[Job], float] | None = None
    jobs: list[Job] = field(default_factory=list)
    mail: list[tuple[Any, ...]] = field(default_factory=list)
    signed: int = 0
    leaving: bool = False
    told: list[str] = field(default_factory=list)
    last_guard: float = 0.0
    restarts: int = 0

    def __post_init__(self) -> None:
        self.clock = TrioClock()
        self.chain = ForkingChain(self.clock, exit_delay_s=EXIT_DELAY_S)
        self.requester, self.provider = self._side(PAYER), self._side(PAYEE)
        self.chain.mint(PAYER.address, TOKENS)
        self.payer, self.payee = self._new_payer(), self._new_payee()

    # --- processes

    def _side(self, key: SessionKey) -> Side:
        fate = Fate()
        self.chain.give_gas(key.address)
        # A payer that means to take a deposit back by a fork does not wait for it to be confirmed.
        patient = key is PAYEE or self.requester_honest
        view = MortalView(self.chain, key.address, CONFIRMATIONS if patient else 0, fate)
        return Side(fate, MortalJournal(fate), view)

    def _new_payer(self) -> Payer:
        side = self.requester
        return self.payer_kind(side.view, side.journal, SESSION, self.clock.now_ms)

    def _new_payee(self) -> Payee:
        side = self.provider
        return self.payee_kind(side.view, side.journal, PAYEE, self.clock.now_ms, confirmations=CONFIRMATIONS)

    async def start(self, side: Side) -> None:
        """A new process on what the journal kept."""
        self.restarts += 1
        side.fate.left = None
        side.journal = side.journal.backup()
        if side is self.requester:
            self.payer = self._new_payer()
            await self.payer.load()
        else:
            self.payee = self._new_payee()
            await self.payee.load()

    def back_up(self, side: Side) -> None:
        """A copy of the journal is laid aside."""
        side.kept = (side.journal.backup(), self._acknowledged(side))

    async def restore(self, side: Side) -> None:
        """The copy is put in place of the newer journal, and its owner insists on it."""
        if side.kept is not None:
            side.journal, before = side.kept
            side.kept, side.restored = None, True
            side.lost += self._acknowledged(side) - before
            await self.start(side)

    def _acknowledged(self, side: Side) -> int:
        return sum(job.accepted if side is self.provider else job.vouched for job in self.jobs)

    async def attempt(self, side: Side, call: Callable[[], Awaitable[Any]]) -> Any:
        """What ``side`` answers, or ``REFUSED``: a refusal, or a death (and a new process)."""
        try:
            return await call()
        except Killed:
            await self.start(side)
        except (InvalidRequest, PeerFault, Unavailable) as refused:
            self.told.append(refused.code)
        finally:
            self.work()
        return REFUSED

    # --- the market, in its barest form

    def work(self) -> None:
        """The provider has worked until now, wherever it was not frozen."""
        now = trio.current_time()
        for job in self.jobs:
            if job.started is None or job.ended:
                continue
            until = now if self.works_until is None else min(now, self.works_until(job))
            done = min(job.admitted, job.worked + int(job.price * max(0.0, until - job.seen)))
            if self.works_until is None:
                done = max(job.worked, min(done, job.accepted + job.exposure))
            job.worked, job.seen = done, now

    async def new_job(self) -> None:
        """The requester reserves and funds; the provider admits, or is asked again later."""
        if len(self.jobs) < 4:
            price = self.random.randrange(1, 9)
            cap = price * self.random.randrange(1, 25)
            cover = self.random.choice((cap, self.random.randrange(cap + 1)))
            self.jobs.append(Job(len(self.jobs).to_bytes(16, "big"), price, cap, cover))
        await self.fund(self.random.choice(self.jobs))

    async def top_up(self) -> None:
        """More of a lease's cap is covered, before or while it runs."""
        if self.jobs:
            job = self.random.choice(self.jobs)
            job.cover = min(job.cap, job.cover + job.price * self.random.randrange(1, 12))
            await self.fund(job)

    async def fund(self, job: Job) -> None:
        """Make sure that the job is funded and admitted as far as its cover goes, and start it once it is."""
        if job.ended:
            return
        await self.secure(job)
        admit = self.payee.admit
        if await self.attempt(self.provider, lambda: admit(job.lease, LANE, job.cap, job.cover)) is True:
            job.admitted = max(job.admitted, job.cover)
            if job.started is None:
                job.started = job.seen = job.accepted_at = trio.current_time()

    async def secure(self, job: Job) -> None:
        """The requester makes sure that the lane covers the job so far; nothing is signed beyond that."""
        reserved = await self.attempt(self.requester, lambda: self.payer.reserve(job.lease, PAYEE.address, job.cap))
        if reserved is not REFUSED:
            funded = await self.attempt(self.requester, lambda: self.payer.ensure_funded(job.lease, job.cover))
            job.funded = job.funded if funded is REFUSED else job.cover

    async def ask(self) -> None:
        """The provider asks for what it worked; one that lies, for more."""
        self.work()
        running = [job for job in self.jobs if job.started is not None]
        if not running:
            return
        job = self.random.choice(running)
        more = 0 if self.provider_honest else self.random.choice((0, job.price, job.exposure, job.cap, 10**9))
        self.mail.append(("ask", job, job.worked + more))

    async def deliver(self) -> None:
        """One letter arrives, in any order; it may be lost or arrive again."""
        if not self.mail:
            return
        letter = self.mail.pop(self.random.randrange(len(self.mail)))
        luck = self.random.random()
        if luck < 0.1:
            return
        if luck < 0.2:
            self.mail.append(letter)
        if self.random.random() < 0.1:
            side = self.random.choice((self.requester, self.provider))
            side.view.offline = False
        if letter[0] == "ask":
            await self.answer(letter[1], letter[2])
        else:
            await self.take(*letter[1:])

    async def answer(self, job: Job, amount: int) -> bytes | None:
        """The requester pays what its own stopwatch allows."""
        if self.leaving or amount == 0:
            return None
        if amount > job.funded:
            await self.secure(job)
        if amount > min(job.stopwatch(trio.current_time()), job.vouched + job.exposure + job.price):
            return None
        job.approved = max(job.approved, amount)
        voucher = await self.attempt(self.requester, lambda: self.payer.acknowledge(job.lease, amount))
        if voucher is REFUSED:
            return None
        self.signed = max(self.signed, voucher.cumulative)
        job.vouched = max(job.vouched, amount)
        if self.requester_honest:
            self.check_signed(voucher.cumulative)
        row = encode_voucher(voucher)
        self.mail.append(("voucher", job, amount, row))
        return row

    async def take(self, job: Job, amount: int, row: bytes) -> None:
        """The provider takes a voucher, and believes it once that returned."""
        taken = await self.attempt(self.provider, lambda: self.payee.accept(job.lease, amount, row))
        if taken is not REFUSED and amount > job.accepted:
            job.accepted, job.accepted_at = amount, trio.current_time()

    async def end(self) -> None:
        """A container exits."""
        self.work()
        if running := [job for job in self.jobs if job.started is not None]:
            self.random.choice(running).ended = True

    async def release(self) -> None:
        """Leases that are over and paid are released, by each side for itself."""
        for job in self.jobs:
            if job.ended and job.accepted == job.worked:
                await self.attempt(self.provider, lambda job=job: self.payee.release(job.lease))
            if job.ended and job.vouched >= job.worked:
                await self.attempt(self.requester, lambda job=job: self.payer.release(job.lease))

    async def guard(self) -> None:
        """The provider looks at its lane; a payer that leaves is redeemed and served no longer."""
        self.last_guard = trio.current_time()
        seen = await self.attempt(self.provider, lambda: self.payee.lane_on_chain(LANE))
        if seen is not REFUSED and seen.exit_at and self.watches_exits:
            self.work()
            for job in self.jobs:
                job.ended = job.ended or job.started is not None
            await self.attempt(self.provider, lambda: self.payee.redeem())

    async def redeem(self) -> None:
        await self.attempt(self.provider, lambda: self.payee.redeem())

    async def close(self) -> None:
        """Both agree to close, if nothing is paid from the lane any more."""
        if not self.requester_honest:
            await self._close_low()
            return
        proposal = await self.attempt(self.requester, lambda: self.payer.start_close(PAYEE.address))
        if proposal is REFUSED:
            return
        consent = await self.attempt(
            self.provider, lambda: self.payee.consent_close(LANE, proposal.cumulative, proposal.deadline_s)
        )
        if consent is not REFUSED:
            await self.attempt(self.requester, lambda: self.payer.finish_close(proposal, consent))

    async def _close_low(self) -> None:
        """A payer that proposes to close at less than it owes, whatever is running."""
        head = self.chain.head()
        words = {"cumulative": self.random.randrange(self.signed + 1), "deadline_s": head.timestamp + 600}
        consent = await self.attempt(self.provider, lambda: self.payee.consent_close(LANE, *words.values()))
        if consent is not REFUSED:
            close = self.requester.view.close_together
            await self.attempt(
                self.requester, lambda: close(LANE, **words, payee_signature=consent, payer_signature=b"")
            )

    async def leave(self) -> None:
        """The payer takes its money without asking; one that cheats, in the middle of its jobs."""
        rudely = not self.requester_honest
        await self.attempt(self.requester, lambda: self.payer.begin_exit(PAYEE.address, force=rudely))
        await self.attempt(self.requester, lambda: self.payer.finish_exit_when_due(PAYEE.address))

    # --- the end

    async def finish(self) -> None:
        """The weather clears. Everybody who is honest does what is left to do; the lane is emptied."""
        for side in (self.requester, self.provider):
            side.fate.left, side.view.offline, side.view.answers_to_lose = None, False, 0
        await trio.sleep(CONFIRMATIONS + 2)
        self.work()
        for job in self.jobs:
            job.ended = True
            if self.requester_honest and self.provider_honest and job.worked > job.accepted:
                row = await self.answer(job, job.worked)
                if row is not None:
                    await self.take(job, job.worked, row)
            await self.attempt(self.provider, lambda job=job: self.payee.release(job.lease))
            await self.attempt(self.requester, lambda job=job: self.payer.release(job.lease))
        if self.requester_honest and self.random.random() < 0.7:
            await self.close()
        await self.guard()
        await self.attempt(self.requester, lambda: self.payer.begin_exit(PAYEE.address, force=True))
        await trio.sleep(CONFIRMATIONS + 2)
        await self.guard()
        await trio.sleep(EXIT_DELAY_S + 2)
        await self.attempt(self.requester, lambda: self.payer.finish_exit_when_due(PAYEE.address))
        await trio.sleep(CONFIRMATIONS + 2)

    # --- the verdict

    def tokens(self, account: bytes) -> int:
        return self.chain.state_at(self.chain.head_number()).model.tokens.get(account, 0)

    def check_signed(self, cumulative: int) -> None:
        """Nothing is signed above what was agreed, nor above what was ever put in."""
        agreed = sum(job.cap for job in self.jobs)
        if cumulative > agreed:
            raise Found(f"signed {cumulative}, agreed were {agreed}")
        model = self.chain.state_at(self.chain.head_number()).model
        if cumulative > model.lane(LANE).balance:
            raise Found(f"signed {cumulative}, the lane holds {model.lane(LANE).balance}")

    def judge(self) -> None:
        """Raise :class:`Found` when anybody lost more than was printed, or a unit is missing."""
        model = self.chain.state_at(self.chain.head_number()).model
        lane = model.lane(LANE)
        deposited, paid = self.chain.total("Deposited"), self.tokens(PAYEE.address)
        refunded, held = self.tokens(PAYER.address) - (TOKENS - deposited), self.tokens(self.chain.domain.escrow)
        self._must(deposited == paid + refunded + held, f"{deposited} in, {paid} + {refunded} + {held} out")
        self._must(held == lane.balance - lane.claimed, f"held {held}, the lane says {lane}")
        signed = max([self.signed, *(one.signed for one in self.payer.summary())])
        self._must(paid <= signed, f"paid {paid}, signed {signed}")
        if self.provider_honest:
            accepted = sum(job.accepted for job in self.jobs)
            self._must(paid >= accepted - self.provider.lost, f"acknowledged {accepted}, paid {paid}")
            for job in self.jobs:
                given = job.worked - job.accepted
                self._must(given <= job.exposure, f"gave {given} for nothing, printed were {job.exposure}")
        if self.requester_honest:
            approved = sum(job.approved for job in self.jobs)
            # An old copy of the payer's journal makes no difference: what it forgot is not paid again.
            self._must(paid <= approved, f"paid {paid}, the stopwatch allowed {approved}")
            caps = sum(job.cap for job in self.jobs)
            self._must(deposited - refunded <= caps, "more than all leases may cost")
            self._must(held == 0, f"{held} cannot be had back")
        if self.requester_honest and self.provider_honest and not (self.provider.restored or self.requester.restored):
            worked = sum(job.worked for job in self.jobs)
            self._must(paid == worked, f"worked {worked}, paid {paid}")

    def _must(self, holds: bool, told: str) -> None:
        if not holds:
            raise Found(told)
