"""From a queued job to a signed lease: waits in the node's line for a turn, holds auctions, and tells the owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

import trio
from msgspec.structs import replace

from market.ask import Ask, JobFacts
from market.explain import WhyNot, why_not
from market.feasibility import Limits
from market.matching import Shortlist, candidate_of, shortlist
from market.records import JobSpec
from node.active_job import Job
from node.auction import Auctioneer, Outcome, Purchase, Purse
from node.control import rfc3339
from node.grant_limits import MAX_UNFUNDED
from node.job_file.facts import job_facts
from node.job_file.request import JobRequest
from node.job_journal import WAITING_FOR_OFFERS
from node.job_outcome import describe_no_match, describe_shortage
from node.job_queue import JobQueue
from node.job_terms import ask_of_request, limits_of, name_binding_cap
from node.match_view import describe_match, describe_why
from node.offer_intake import OfferIntake
from node.ports import Clock

PATIENCE_MS = 6_000
"""How long a job waits that was not told to: the market may be just moving."""
_TOLD_AUCTIONS = 16
"""After so many auctions without a lease the owner is told only of the one that brings it: weeks of them would fill the
journal."""

Tell = Callable[[Job, str, dict[str, Any]], Awaitable[None]]
OpenLease = Callable[[Job, Outcome], Awaitable[None]]
Facts = Callable[[JobRequest, JobSpec], JobFacts]
"""``facts(request, spec)``: what is known of a job; ``spec`` has its inputs packed."""


class ProviderSearch:
    """Finds providers for all jobs of a node, in one line.

    Args:
        tell: adds an event to a job's history.
        open_lease: makes a won auction durable.
        funds: what could be set aside now, in units; None while that is not known.
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
        tell: Tell,
        open_lease: OpenLease,
        facts: Facts = job_facts,
        shunned: Callable[[], tuple[bytes, ...]] = tuple,
        unfunded: Callable[[], Counter[bytes]] = Counter,
    ) -> None:
        self._shunned = shunned
        self._unfunded = unfunded
        self._auctioneer = auctioneer
        self._intake = intake
        self._clock = clock
        self._purse = purse
        self.funds = funds
        self._facts = facts
        self._tell = tell
        self._open_lease = open_lease
        self._queue = JobQueue(clock, rng)

    async def serve_forever(self) -> None:
        """Give the waiting jobs their turns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._queue.listen_forever, self._intake.wait_change)
            nursery.start_soon(self._queue.serve_forever)

    def stir(self) -> None:
        """Something changed that is not in the book: whoever waits may have something to try."""
        self._queue.book_changed()

    async def find(self, job: Job) -> bool:
        """Wait until somebody signs; False when the job was cancelled or nobody did in time, which is then told."""
        if not job.cancelled.is_set():
            slots = job.spec.requirements.slots
            with self._queue.place(job.waiting, partial(self._fitting, job), slots=slots) as job.place:
                while await job.place.turn(self._until(job)):
                    outcome = await self._auction(job)
                    if outcome.lease is not None:
                        return True
                    job.place.did_not_work_out()
                    await self._tell_to_wait(job, outcome.why_not)
            job.place = None
        if job.cancelled.is_set():
            await self._tell(job, "cancelled", {})
        else:
            await self._no_match(job)
        return False

    def look(self, request: JobRequest, spec: JobSpec) -> tuple[Ask, Shortlist, WhyNot]:
        """What a job would be offered now, and why not more. Asks nobody."""
        ask, book, now = self._ask(request, spec), self._intake.book, self._clock.now_ms()
        return ask, shortlist(book, ask, now=now), why_not(book, ask, now, without=self._auctioneer.key)

    async def _auction(self, job: Job) -> tuple[Sequence[Outcome], WhyNot]:
        job.auctions += 1
        is_told = job.auctions <= _TOLD_AUCTIONS
        heard: list[tuple[str, dict[str, Any]]] = []

        async def tell(kind: str, detail: dict[str, Any]) -> None:
            detail = name_binding_cap(detail, job.request) if kind == "matching" else detail
            if job.auctions <= _TOLD_AUCTIONS:
                await self._tell(job, kind, detail)
            else:
                held.append((kind, detail))

        # Asked before anybody is: an award that cannot be funded takes a provider's slot for nothing.
        job.funds = await self.funds()
        outcome = await self._auctioneer.buy(self._purchase(job), tell)
        if outcome.lease is not None:
            # Signed by the provider: from here on a node that stops must not cut us off half-way.
            with trio.CancelScope(shield=True):
                for kind, detail in held:
                    await self._tell(job, kind, detail)
                await self._open_lease(job, outcome)
        return outcome

    def _purchase(self, job: Job) -> Purchase:
        return Purchase(
            spec=job.spec,
            salt=job.salt,
            limits=self._without_shunned(limits_of(job.request, self._purse)),
            strategy=job.request.strategy,
            weights=job.request.weights,
            job=self._facts(job.request, job.spec),
            funds=job.funds,
            quotes=job.request.quotes,
        )

    def _ask(self, request: JobRequest, spec: JobSpec) -> Ask:
        ask = ask_of_request(request, self._facts(request, spec), self._purse)
        return replace(ask, limits=self._without_shunned(ask.limits))

    def _without_shunned(self, limits: Limits) -> Limits:
        """Who would refuse is not asked: who was shunned for it, and who waits for our money. Nor are we ourselves."""
        waiting = (provider for provider, leases in self._unfunded().items() if leases >= MAX_UNFUNDED)
        return replace(limits, deny=tuple(sorted({*limits.deny, *self._shunned(), *waiting, self._auctioneer.key})))

    def _fitting(self, job: Job) -> dict[Any, int]:
        """What there is to try, and how much of it. An offer that is only said again, with a new date, is the same."""
        found = shortlist(self._intake.book, self._ask(job.request, job.spec), now=self._clock.now_ms())
        unfunded, slots = self._unfunded(), job.spec.requirements.slots
        fitting: dict[Any, int] = {}
        for match in found.matches:
            offer, free = match.offer.record, match.row.free
            # A provider grants a few leases and then waits for money.
            granted = (MAX_UNFUNDED - unfunded[offer.provider]) * slots
            fitting[offer.provider, offer.machine, match.row.price] = min(free, granted)
        return fitting

    def _until(self, job: Job) -> float:
        return trio.current_time() + (job.deadline - self._clock.now_ms()) / 1000

    async def _tell_to_wait(self, job: Job, reasons: WhyNot) -> None:
        if job.is_told_to_wait or not job.request.wait_ms:
            return
        why = name_binding_cap(describe_why(reasons.offers, reasons), job.request)
        detail = {"until": rfc3339(job.deadline), **why}
        await self._tell(job, WAITING_FOR_OFFERS, detail)
        job.is_told_to_wait = True

    async def _no_match(self, job: Job) -> None:
        ask, found, reasons = self.look(job.request, job.spec)
        if not found.matches:
            seen = name_binding_cap(describe_match(found, reasons, ask), job.request)
            await self._tell(job, "matching", seen)
        cheapest = min((one.cap for one in found.matches), default=0)
        if job.funds is not None and cheapest > job.funds:
            await self._tell(job, "failed", describe_shortage(cheapest, job.funds))
            return
        waited = max(0, self._clock.now_ms() - job.since) if job.request.wait_ms else 0
        await self._tell(job, "failed", describe_no_match(found, reasons, waited_ms=waited))
