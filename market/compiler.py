"""Turns offers into rows and asks into queries. Owns the tables of words; knows nothing of which offers are live."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache

from market.ask import Ask
from market.feasibility import (
    asked_as,
    driver_number,
    in_jurisdictions,
    is_bearable,
    names_of,
    notice_of,
    notice_wanted,
    within_region,
)
from market.interning import Answers, WordTable, mask_of
from market.knowledge import Known
from market.offer_row import ALL, SIMULATED, UNBEARABLE, Query, Row
from market.records import Offer
from market.signing import Verified
from market.speeds import performance, speed_of

CLASSES = 4096
BITS = 64
OVERFLOW = 4
"""Flag of a row some of whose words found no place: it fits only if its words do (``feasibility.is_feasible``)."""
DEFAULT_MBPS = 100
_GIB_MEGABIT_MS = 8_589_935
"""Milliseconds to move one GiB at one megabit per second."""
UNKNOWN_LATENCY_MS = 100
INTERRUPTIBLE_FAILURE = 80
"""Permille added to the expected failures of a machine that its owner may take back."""
MAX_CLAIM = 2
"""How many times the table's speed of its model an owner's own figure may claim before a receipt bears it out."""
_NO_LIMIT = 2**31 - 1
_NOBODY: frozenset[int] = frozenset()


class Compiler:
    """The words of one book as numbers."""

    def __init__(self) -> None:
        self._models: WordTable[str] = WordTable(CLASSES, names=names_of)
        self._regions: WordTable[str] = WordTable(BITS)
        self._countries: WordTable[str] = WordTable(BITS)
        self._runtimes: WordTable[str] = WordTable(BITS)
        self._venues: WordTable[tuple[int, bytes]] = WordTable(BITS)
        self._classes = Answers(self._models, self._classes_of)
        self._region_masks = Answers(self._regions, self._region_mask)
        self._country_masks = Answers(self._countries, self._country_mask)

    def row(self, offer: Verified[Offer], known: Known, *, handle: int, provider: int, free: int) -> Row:
        """Compile an offer. Its words are in use until :meth:`forget`."""
        o, speed = offer.record, known.speed or _believed(offer.record)
        klass, region = self._models.hold(o.gpu), self._regions.hold(o.region)
        country = self._countries.hold(o.jurisdiction)
        venue = self._venues.hold((o.settlement.chain_id, o.settlement.escrow))
        runtimes = [self._runtimes.hold(word) for word in o.runtimes]
        crowded = self._models.is_shared(klass) or BITS - 1 in (region, country, venue, *runtimes)
        # By position, in the order of the class: every new offer comes this way.
        return Row(
            handle,
            offer.id,
            int.from_bytes(offer.id[:8], "big"),
            provider,
            klass,
            o.expires_at,
            o.price,
            free,
            o.vram_mib,
            o.cpu_milli,
            o.memory_mib,
            o.disk_mib,
            o.cuda_milli,
            driver_number(o.driver),
            notice_of(o),
            known.reputation,
            known.rtt_us,
            min(known.rtt_us // 1000, 1000) if known.rtt_us else UNKNOWN_LATENCY_MS,
            1 << venue,
            1 << region,
            1 << country,
            mask_of(runtimes),
            _flags(o, crowded),
            speed,
            performance(speed),
            max(1, _GIB_MEGABIT_MS // (known.link_mbps or o.net_mbps or DEFAULT_MBPS)),
            min(1000, known.failure + (INTERRUPTIBLE_FAILURE if o.interruptible else 0)),
            known.opening,
            frozenset(map(image_key, o.images)),
        )

    def forget(self, offer: Offer, row: Row) -> None:
        """The words of a compiled offer are not in use any more."""
        self._models.release(offer.gpu, row.klass)
        self._regions.release(offer.region, row.region.bit_length() - 1)
        self._countries.release(offer.jurisdiction, row.jurisdiction.bit_length() - 1)
        self._venues.release((offer.settlement.chain_id, offer.settlement.escrow), row.venue.bit_length() - 1)
        for word in offer.runtimes:
            number = self._runtimes.number(word)
            if row.runtimes >> number & 1:
                self._runtimes.release(word, number)

    def classes(self, models: tuple[str, ...]) -> tuple[int, ...]:
        """The numbers of the GPU models that will do, ascending; all for none named."""
        return self._classes.to(models)

    def query(self, ask: Ask, *, now: int, reference: int, providers: Callable[[bytes], int | None]) -> Query:
        """Compile an ask. ``reference`` is the going price in nanotokens per GPU-second; ``providers`` gives the number
        of a provider, None for one that offers nothing."""
        r, limits, job = ask.requirements, ask.limits, ask.job
        # By position, in the order of the class: with names it takes twice as long, and every bid comes this way.
        return Query(
            int.from_bytes(ask.bid_id[:8], "big"),
            now,
            self._classes.to(r.gpus),
            1 << self._venues.number((limits.chain_id, limits.escrow)),
            limits.max_price,
            r.slots,
            r.vram_mib,
            r.vram_max_mib or _NO_LIMIT,
            r.cpu_milli,
            r.memory_mib,
            r.disk_mib,
            r.cuda_milli,
            driver_number(r.driver),
            notice_wanted(r),
            r.min_reputation,
            limits.max_rtt_us,
            self._region_masks.to(r.regions) if r.regions else ALL,
            self._country_masks.to(r.jurisdictions) if r.jurisdictions else ALL,
            1 << self._runtimes.number(r.runtime) if r.runtime else 0,
            UNBEARABLE if r.allow_simulated else UNBEARABLE | SIMULATED,
            _numbers(limits.allow, providers) if limits.allow else None,
            _numbers(limits.deny, providers) if limits.deny else _NOBODY,
            job.work_ms * job.work_speed // 1000 if job.work_ms else job.max_ms,
            job.work_ms > 0,
            job.max_ms,
            image_key(job.image),
            job.image_mib,
            job.moved_mib,
            reference if job.waiting is None else job.waiting,
            reference,
            *ask.weights,
        )

    def _classes_of(self, models: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self._models.found_as(map(asked_as, models)) if models else self._models.all())

    def _region_mask(self, regions: tuple[str, ...]) -> int:
        return mask_of(self._regions.matching(lambda word: any(within_region(word, one) for one in regions)))

    def _country_mask(self, jurisdictions: tuple[str, ...]) -> int:
        return mask_of(self._countries.matching(lambda word: in_jurisdictions(word, jurisdictions)))


@lru_cache(maxsize=65_536)
def image_key(image: str) -> int:
    """What names an image in a row: eight bytes of the hash of its digest, or of its whole name without one."""
    name = image.partition("@")[2] or image
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _flags(offer: Offer, crowded: bool) -> int:
    simulated = SIMULATED if offer.simulated else 0
    return simulated | (0 if is_bearable(offer.terms) else UNBEARABLE) | (OVERFLOW if crowded else 0)


def _believed(offer: Offer) -> int:
    """An owner may know its card better than a table, but not by any factor it likes."""
    listed = speed_of(offer.gpu)
    return min(offer.speed, MAX_CLAIM * listed) if offer.speed else listed


def _numbers(keys: tuple[bytes, ...], providers: Callable[[bytes], int | None]) -> frozenset[int]:
    return frozenset(number for key in keys if (number := providers(key)) is not None)
