"""The offers a node believes in right now. Filled only with verified records; bounded; never asks the clock.

The newest version of a (provider, machine) pair replaces the older ones. A provider cannot grow the book at will:
there is a limit per provider and a limit in all, and at the limit the offer that expires first makes room.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from market.records import Offer, Refusal
from market.signing import Verified

MAX_OFFERS = 100_000
MAX_MACHINES_PER_PROVIDER = 64
MAX_TTL_MS = 10 * 60_000
"""No offer is believed longer than this, whatever it says of itself."""


class Intake(Enum):
    """What became of an offer handed to the book."""

    ADDED = "added"
    REPLACED = "replaced"
    KNOWN = "known"
    OLDER = "older"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    LIVES_TOO_LONG = "lives_too_long"
    TOO_MANY = "too_many"


class OfferBook:
    """Live offers by (provider, machine). All times are UTC milliseconds given by the caller."""

    def __init__(self, *, max_skew_ms: int, max_offers: int = MAX_OFFERS) -> None:
        self._offers: dict[tuple[bytes, str], Verified[Offer]] = {}
        self._machines: dict[bytes, int] = {}
        self._free: dict[tuple[bytes, str], tuple[int, int]] = {}
        self._max_skew_ms = max_skew_ms
        self._max_offers = max_offers

    def __len__(self) -> int:
        return len(self._offers)

    def take(self, offer: Verified[Offer], now: int) -> Intake:
        """Put a verified offer in the book, unless it is stale, misdated or one too many."""
        record = offer.record
        if (verdict := self._misdated(record, now)) is not None:
            return verdict
        name = (record.provider, record.machine)
        known = self._offers.get(name)
        if known is not None:
            if known.id == offer.id:
                return Intake.KNOWN
            if record.version <= known.record.version:
                return Intake.OLDER
            self._offers[name] = offer
            return Intake.REPLACED
        if self._machines.get(record.provider, 0) >= MAX_MACHINES_PER_PROVIDER:
            return Intake.TOO_MANY
        if len(self._offers) >= self._max_offers:
            self._make_room(now)
        self._offers[name] = offer
        self._machines[record.provider] = self._machines.get(record.provider, 0) + 1
        return Intake.ADDED

    def learn(self, refusal: Refusal, machine: str) -> None:
        """Believe a provider that says its slots are gone: valid for the version it speaks of and older ones."""
        name = (refusal.provider, machine)
        if name in self._offers:
            self._free[name] = (refusal.version, refusal.free_slots)

    def free_slots(self, offer: Offer) -> int:
        """Free slots of an offer, corrected by what its provider said when it refused us."""
        version, free = self._free.get((offer.provider, offer.machine), (0, 0))
        return min(offer.free_slots, free) if version >= offer.version else offer.free_slots

    def live(self, now: int) -> Iterator[Verified[Offer]]:
        """Offers that have not expired, in no particular order."""
        return (offer for offer in self._offers.values() if offer.record.expires_at > now)

    def drop_expired(self, now: int) -> int:
        """Forget expired offers; returns how many."""
        gone = [name for name, offer in self._offers.items() if offer.record.expires_at <= now]
        for name in gone:
            self._forget(name)
        return len(gone)

    def _misdated(self, record: Offer, now: int) -> Intake | None:
        if record.expires_at <= now:
            return Intake.EXPIRED
        if record.issued_at > now + self._max_skew_ms:
            return Intake.FROM_THE_FUTURE
        if record.expires_at > now + self._max_skew_ms + MAX_TTL_MS:
            return Intake.LIVES_TOO_LONG
        return None

    def _make_room(self, now: int) -> None:
        if self.drop_expired(now) == 0:
            soonest = min(self._offers, key=lambda name: self._offers[name].record.expires_at)
            self._forget(soonest)

    def _forget(self, name: tuple[bytes, str]) -> None:
        del self._offers[name]
        self._free.pop(name, None)
        self._machines[name[0]] -= 1
        if not self._machines[name[0]]:
            del self._machines[name[0]]
