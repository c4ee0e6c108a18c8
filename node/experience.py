"""What this node learned by dealing: how providers behave, how quick and how near they are, how long its jobs take.

Everything is kept as values in the journal, written with the facts it comes from, and put into the offer book, where it
changes the ranking at once. Bounded; what was not used for the longest time goes first.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ledger.ports import Journal
from market.ask import JobFacts
from market.conduct import NEW, Conduct, after_end, after_lease, after_refusal
from market.errors import Unavailable
from market.job_history import JobHistory, Run, after_run, kind_of, learned_facts, speed_seen
from market.knowledge import Known
from market.lease import LeaseState
from market.offer_book import OfferBook
from market.records import Award, JobSpec, Refusal
from node.ports import Clock

log = logging.getLogger(__name__)
V = TypeVar("V")

_PROVIDER, _JOB = "experience/provider/", "experience/job/"
_MOST_PROVIDERS, _MOST_JOBS = 10_000, 2_000
_ENOUGH_TO_TIME = 4 << 20
"""Smaller transfers say more about the round trip than about the line."""


class Acquaintance(Struct, frozen=True, kw_only=True):
    """One provider as this node knows it. ``speed`` 1000 is one A100, ``link_mbps`` megabits a second; 0 unknown."""

    conduct: Conduct = NEW
    speed: int = 0
    link_mbps: int = 0


class Experience:
    """The memory of one node.

    Args:
        book: ranked anew whenever something is learned.
        journal: where the values are kept.
        clock: for pauses after baits.
        opening: token units of gas that paying this provider for the first time costs; 0 where a lane is open.
    """

    def __init__(
        self, book: OfferBook, journal: Journal, clock: Clock, *, opening: Callable[[bytes], int] = lambda provider: 0
    ) -> None:
        self._book = book
        self._journal = journal
        self._clock = clock
        self._opening = opening
        self._providers: OrderedDict[bytes, Acquaintance] = OrderedDict()
        self._jobs: OrderedDict[bytes, JobHistory] = OrderedDict()
        self._rtt_us: OrderedDict[bytes, int] = OrderedDict()

    async def restore(self) -> None:
        """Read everything back. What cannot be read any more is left out: it is advice, not money."""
        for key, raw in (await self._journal.get_all(_PROVIDER)).items():
            if (known := _decode(raw, Acquaintance)) is not None:
                self._providers[bytes.fromhex(key.removeprefix(_PROVIDER))] = known
        for key, raw in (await self._journal.get_all(_JOB)).items():
            if (history := _decode(raw, JobHistory)) is not None:
                self._jobs[bytes.fromhex(key.removeprefix(_JOB))] = history
        for provider in self._providers:
            self._tell_book(provider)

    def conduct(self, provider: bytes) -> Conduct:
        """How a provider behaved so far."""
        return self._providers.get(provider, _STRANGER).conduct

    def quiet(self) -> tuple[bytes, ...]:
        """Providers that are left alone just now because of the bait rule."""
        now = self._clock.now_ms()
        return tuple(key for key, known in self._providers.items() if known.conduct.is_quiet(now))

    def quotes_in_vain(self, provider: bytes) -> bool:
        """Whether a provider's quotes are not worth asking for just now: it did not stand by the last ones."""
        return self.conduct(provider).quotes_in_vain(self._clock.now_ms())

    def facts(self, name: str, spec: JobSpec, plain: JobFacts) -> JobFacts:
        """What is known of a job, with what earlier runs of it showed."""
        return learned_facts(plain, self._jobs.get(kind_of(name, spec), JobHistory()))

    def runs(self, name: str, spec: JobSpec) -> int:
        """How many earlier runs :meth:`facts` draws on."""
        return len(self._jobs.get(kind_of(name, spec), JobHistory()).runs)

    def round_trip(self, provider: bytes, rtt_us: int) -> None:
        """A measured round trip, in microseconds. Not kept over a restart: either side may have moved."""
        self._rtt_us[provider] = rtt_us
        self._rtt_us.move_to_end(provider)
        while len(self._rtt_us) > _MOST_PROVIDERS:
            self._rtt_us.popitem(last=False)
        self._tell_book(provider)

    async def honoured(self, provider: bytes) -> None:
        """An award became a lease."""
        await self._change(provider, conduct=after_lease(self.conduct(provider)))

    async def refused(self, award: Award, refusal: Refusal) -> None:
        """An award was refused."""
        before = self.conduct(award.provider)
        after = after_refusal(before, award, refusal, self._clock.now_ms())
        if after is not before:
            await self._change(award.provider, conduct=after)

    async def moved(self, provider: bytes, size: int, seconds: float) -> None:
        """So many bytes went to or came from a provider in that time."""
        if size < _ENOUGH_TO_TIME or seconds <= 0:
            return
        now = max(1, round(size * 8 / seconds / 1_000_000))
        before = self._providers.get(provider, _STRANGER).link_mbps
        await self._change(provider, link_mbps=(3 * before + now) // 4 if before else now)

    async def ended(self, provider: bytes, state: LeaseState, *, by_us: bool) -> None:
        """A lease that was funded is over."""
        await self._change(provider, conduct=after_end(self.conduct(provider), state.exit_reason, by_us=by_us))

    async def ran(self, name: str, spec: JobSpec, run: Run) -> None:
        """A job ended well."""
        kind = kind_of(name, spec)
        history = self._jobs.pop(kind, JobHistory())
        seen = speed_seen(history, run)
        self._jobs[kind] = after_run(history, run)
        while len(self._jobs) > _MOST_JOBS:
            self._jobs.popitem(last=False)
        await self._put(_JOB + kind.hex(), self._jobs[kind])
        if seen is not None:
            before = self._providers.get(run.provider, _STRANGER).speed
            await self._change(run.provider, speed=(3 * before + seen) // 4 if before else seen)

    def lane_changed(self, provider: bytes) -> None:
        """A lane to this provider was opened or closed: what paying it costs has changed."""
        self._tell_book(provider)

    async def _change(self, provider: bytes, **changes: object) -> None:
        known = replace(self._providers.pop(provider, _STRANGER), **changes)
        self._providers[provider] = known
        while len(self._providers) > _MOST_PROVIDERS:
            self._providers.popitem(last=False)
        self._tell_book(provider)
        await self._put(_PROVIDER + provider.hex(), known)

    async def _put(self, key: str, value: Struct) -> None:
        try:
            await self._journal.append([], {key: msgspec.msgpack.encode(value)})
        except Unavailable as error:
            # Advice for later auctions is no reason to hold up this one.
            log.warning("not remembered: %s", error)

    def _tell_book(self, provider: bytes) -> None:
        known = self._providers.get(provider, _STRANGER)
        self._book.know(
            provider,
            Known(
                reputation=known.conduct.reputation,
                failure=known.conduct.failure,
                rtt_us=self._rtt_us.get(provider, 0),
                speed=known.speed,
                link_mbps=known.link_mbps,
                dealt=known.conduct.honoured > 0,
                opening=self._opening(provider),
            ),
        )


_STRANGER = Acquaintance()


def _decode(raw: bytes, kind: type[V]) -> V | None:
    try:
        return msgspec.msgpack.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
