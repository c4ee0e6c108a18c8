"""From a queued job to a signed lease: waits in the node's line for a turn, holds auctions, and tells the owner.

A gang waits in its leader's place. The leader is told everything; the others learn what concerns them: that they wait,
the auction that brought the leases, and the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Any

import trio
from msgspec.structs import replace

from market.ask import Ask, JobFacts
from market.errors import Unavailable
from market.explain import WhyNot, why_not
from market.feasibility import Limits
from market.matching import Shortlist, shortlist
from market.records import JobSpec
from node.active_job import Job
from node.auction import Auctioneer, Outcome, Purchase, Purse
from node.auction import Tell as Say
from node.control import rfc3339
from node.gang_auction import GangAuctioneer
from node.gas_at_hand import AskGas, enough_gas
from node.grant_limits import MAX_UNFUNDED
from node.held_machines import HeldMachines, best_hosts
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_journal import WAITING_FOR_OFFERS
from node.job_leases import Won
from node.job_outcome import describe_gas_shortage, describe_no_match, describe_shortage
from node.job_queue import JobQueue
from node.job_terms import ask_of_request, is_scattered, limits_of, name_binding_cap
from node.match_view import describe_match, describe_why
from node.offer_intake import OfferIntake
from node.ports import Clock

PATIENCE_MS = 6_000
"""How long a job waits that was not told to: the market may be just moving."""
_TOLD_AUCTIONS = 16
"""After so many auctions without a lease the owner is told only of the one that brings it: weeks of them would fill the
journal."""

Tell = Callable[[Job, str, dict[str, Any]], Awaitable[None]]
TellAll = Callable[[Sequence[Job], str, dict[str, Any]], Awaitable[None]]
"""The same event for several jobs, which all have it after a crash, or none."""
OpenLeases = Callable[[Won], Awaitable[None]]
Facts = Callable[[JobRequest, JobSpec], JobFacts]
"""``facts(request, spec)``: what is known of a job; ``spec`` has its inputs packed."""


class ProviderSearch:
    """Finds providers for all jobs of a node, in one line.

    Args:
        tell: adds an event to a job's history.
        tell_all: adds the same event to the histories of several jobs.
        open_leases: makes what was won durable, all of it or nothing.
        funds: what could be set aside now, in units; None while that is not known.
        gas: whether the wallet could not pay the gas of a deposit to any of these payees.
        facts: what is known of a job that makes one machine cheaper for it than another.
        shunned: providers that are not asked for a while, because they go on refusing at their own tag.
        unfunded: how many leases each provider granted that have no money yet.
    """

    def __init__(
        self,
        auctioneer: Auctioneer,
        *,
        intake: OfferIntake,
        clock: Clock,
        purse: Purse,
        rng: Random,
        funds: Callable[[], Awaitable[int | None]],
        gas: AskGas = enough_gas,
        tell: Tell,
        tell_all: TellAll,
        open_leases: OpenLeases,
        facts: Facts = job_facts,
        shunned: Callable[[], tuple[bytes, ...]] = tuple,
        unfunded: Callable[[], Counter[bytes]] = Counter,
    ) -> None:
        self._shunned = shunned
        self._unfunded = unfunded
        self._auctioneer = auctioneer
        self._gangs = GangAuctioneer(auctioneer.hall)
        self._intake = intake
        self._clock = clock
        self._purse = purse
        self.funds = funds
        self._gas = gas
        self._facts = facts
        self._tell = tell
        self._tell_all = tell_all
        self._open_leases = open_leases
        self._queue = JobQueue(clock, rng)
        self._held = HeldMachines(clock)

    async def serve_forever(self) -> None:
        """Give the waiting jobs their turns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._queue.listen_forever, self._intake.wait_change)
            nursery.start_soon(self._queue.serve_forever)

    def stir(self) -> None:
        """Something changed that is not in the book: whoever waits may have something to try."""
        self._queue.book_changed()

    async def find(self, job: Job) -> bool:
        """Wait until somebody signs, or all that a gang needs. False: it was cancelled or nobody did in time, which is
        then told.

        Args:
            job: of a gang, the leader.
        """
        team = job.team
        if job.is_wanted:
            slots = job.spec.requirements.slots * len(team)
            place = self._queue.place(job.waiting, partial(self._fitting, job), slots=slots)
            with self._held.waiting(job.waiting, slots, partial(self._hosts, job)), place as job.place:
                while await job.place.turn(self._until(job)):
                    # Asked before anybody is: an award that cannot be funded takes a provider's slot for nothing.
                    _, found, why_not = self.look(job.request, job.spec)
                    shortage = await self._shortage(job, found)
                    if shortage is not None and not job.request.wait_ms:
                        break  # no other provider would help
                    if shortage is None:
                        won, why_not = await self._auction(job)
                        if won:
                            return True
                    job.place.did_not_work_out()
                    await self._tell_to_wait(job, why_not, shortage)
            job.place = None
        if job.is_wanted:
            await self._no_match(job)
        else:
            await self._tell_all(team, "cancelled", {})
        return False

    def look(self, request: JobRequest, spec: JobSpec) -> tuple[Ask, Shortlist, WhyNot]:
        """What a job would be offered now, and why not more. Asks nobody."""
        resting = self._resting(request)
        ask, book, now = self._ask(request, spec, resting), self._intake.book, self._clock.now_ms()
        reasons = why_not(book, ask, now, without=self._auctioneer.key, resting=resting)
        return ask, shortlist(book, ask, now=now), reasons

    async def _auction(self, job: Job) -> tuple[Sequence[Outcome], WhyNot]:
        job.auctions += 1
        is_told = job.auctions <= _TOLD_AUCTIONS
        heard: list[tuple[str, dict[str, Any]]] = []

        async def tell(kind: str, detail: dict[str, Any]) -> None:
            detail = name_binding_cap(detail, job.request) if kind == "matching" else detail
            heard.append((kind, detail))
            if is_told:
                await self._tell(job, kind, detail)

        won, why_not = await self._buy(job, tell)
        if won:
            # Signed by the provider: from here on a node that stops must not cut us off half-way.
            with trio.CancelScope(shield=True):
                await self._keep(job, won, [] if is_told else [job], heard)
        return won, why_not

    async def _buy(self, job: Job, tell: Say) -> tuple[Sequence[Outcome], WhyNot]:
        purchase = self._purchase(job)
        if job.gang is None:
            outcome = await self._auctioneer.buy(purchase, tell)
            return ([outcome] if outcome.lease is not None else []), outcome.why_not
        # One ranking for all: what is known of the leader, of whom there is most to know, goes for the others too.
        purchases = [replace(purchase, spec=one.spec, salt=one.salt) for one in job.team]
        found = await self._gangs.buy(
            purchases, tell, scattered=is_scattered(job.request), is_wanted=lambda: job.is_wanted
        )
        return found.won, found.why_not

    async def _keep(
        self, job: Job, won: Sequence[Outcome], late: Sequence[Job], heard: Sequence[tuple[str, dict[str, Any]]]
    ) -> None:
        """Make what was won durable. ``late`` and the other members of a gang were not told yet what was heard."""
        untold = [*late, *job.team[1:]]
        try:
            for kind, detail in heard if untold else ():
                await self._tell_all(untold, kind, detail)
            await self._open_leases(list(zip(job.team, won, strict=True)))
        except Unavailable:
            self._gangs.give_back(won)
            raise

    def _purchase(self, job: Job) -> Purchase:
        resting = self._resting(job.request, job)
        return Purchase(
            spec=job.spec,
            salt=job.salt,
            limits=self._without(limits_of(job.request, self._purse), resting),
            resting=resting,
            strategy=job.request.strategy,
            weights=job.request.weights,
            job=self._facts(job.request, job.spec),
            funds=job.funds,
            quotes=job.request.quotes,
        )

    def _ask(self, request: JobRequest, spec: JobSpec, resting: tuple[bytes, ...]) -> Ask:
        ask = ask_of_request(request, self._facts(request, spec), self._purse)
        return replace(ask, limits=self._without(ask.limits, resting))

    def _without(self, limits: Limits, resting: tuple[bytes, ...]) -> Limits:
        """Nor are we ourselves asked."""
        return replace(limits, deny=tuple(sorted({*limits.deny, *resting, self._auctioneer.key})))

    def _resting(self, request: JobRequest, job: Job | None = None) -> tuple[bytes, ...]:
        """Who is not asked, though its owner did not say so: who would refuse, because it was shunned for it or waits
        for our money; and whom a job that has waited long for many slots is left. Only a job that was not told to wait
        takes those: it has but this moment."""
        waiting = (provider for provider, leases in self._unfunded().items() if leases >= MAX_UNFUNDED)
        held = self._held.kept_from(job.waiting.number) if job is not None and request.wait_ms else ()
        denied = map(bytes.fromhex, request.deny)
        return tuple(sorted({*self._shunned(), *waiting, *held}.difference(denied)))

    def _hosts(self, job: Job) -> frozenset[bytes]:
        ask = self._ask(job.request, job.spec, self._resting(job.request))
        return best_hosts(self._intake.book, ask, len(job.team), self._clock.now_ms())

    def _fitting(self, job: Job) -> dict[Any, int]:
        """What there is to try, and how much of it. An offer that is only said again, with a new date, is the same."""
        ask = self._ask(job.request, job.spec, self._resting(job.request, job))
        found = shortlist(self._intake.book, ask, now=self._clock.now_ms())
        unfunded, slots = self._unfunded(), job.spec.requirements.slots
        fitting: dict[Any, int] = {}
        for match in found.matches:
            offer, free = match.offer.record, match.row.free
            # A provider grants a few leases and then waits for money.
            granted = (MAX_UNFUNDED - unfunded[offer.provider]) * slots
            fitting[offer.provider, offer.machine, match.row.price] = min(free, granted)
        return fitting if self._are_enough(job, found) else {}

    def _are_enough(self, job: Job, found: Shortlist) -> bool:
        """Whether all that a gang needs could be asked for now. For a single job any offer is enough."""
        if job.gang is None:
            return True
        return self._gangs.choose(found, job.gang.size, scattered=is_scattered(job.request)) is not None

    def _until(self, job: Job) -> float:
        return trio.current_time() + (job.deadline - self._clock.now_ms()) / 1000

    async def _shortage(self, job: Job, found: Shortlist) -> dict[str, Any] | None:
        """Why even the cheapest that fits cannot be funded now, as the terminal event of a job that does not wait. None
        also where that is not known."""
        job.funds, machines = await self.funds(), len(job.team)
        caps = sorted(one.cap for one in found.matches)[:machines]
        if len(caps) < machines:
            return None
        if job.funds is not None and sum(caps) > job.funds:
            return describe_shortage(sum(caps), job.funds, machines=machines)
        missing = await self._gas(sorted({one.offer.record.settlement.payee for one in found.matches}))
        return describe_gas_shortage(missing) if missing is not None else None

    async def _tell_to_wait(self, job: Job, reasons: WhyNot, shortage: dict[str, Any] | None) -> None:
        if job.is_told_to_wait or not job.request.wait_ms:
            return
        why = name_binding_cap(describe_why(reasons.offers, reasons), job.request)
        detail = {"until": rfc3339(job.deadline), **why}
        if shortage is not None:
            detail |= {name: shortage[name] for name in ("message", "fix")}
        await self._tell_all(job.team, WAITING_FOR_OFFERS, detail)
        for one in job.team:
            one.is_told_to_wait = True

    async def _no_match(self, job: Job) -> None:
        ask, found, reasons = self.look(job.request, job.spec)
        if not found.matches or not job.auctions or not self._are_enough(job, found):
            seen = name_binding_cap(describe_match(found, reasons, ask), job.request)
            await self._tell(job, "matching", seen)
        machines = len(job.team)
        shortage = await self._shortage(job, found)
        if shortage is not None:
            await self._tell_all(job.team, "failed", shortage)
            return
        waited = max(0, self._clock.now_ms() - job.since) if job.request.wait_ms else 0
        said = describe_no_match(found, reasons, waited_ms=waited, machines=machines)
        await self._tell_all(job.team, "failed", said)
