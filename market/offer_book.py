"""The offers a node believes in right now. Filled only with verified records; bounded; never asks the clock.

The newest version of a (provider, machine) pair replaces the older ones, and a withdrawn one leaves a tombstone, so
that no older version comes back. A provider cannot grow the book at will: there is a limit per provider, and a limit in
all, at which the peer that handed in most makes room. Live offers are kept compiled in an index
(:mod:`market.offer_row`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Set
from enum import Enum
from operator import attrgetter
from typing import cast

from market.ask import Ask
from market.compiler import Compiler
from market.crowds import Crowds
from market.knowledge import STRANGER, Known
from market.native_index import open_index
from market.neighbourhood import neighbourhood
from market.offer_index import OfferIndex
from market.offer_row import Query, Row
from market.records import Offer, Refusal
from market.signing import Verified

MAX_OFFERS = 100_000
MAX_MACHINES_PER_PROVIDER = 64
MAX_TTL_MS = 10 * 60_000
"""No offer is believed longer than this, whatever it says of itself."""
MAX_KNOWN = 100_000

Name = tuple[bytes, str]
"""Provider and machine."""


class Intake(Enum):
    """What became of an offer handed to the book."""

    ADDED = "added"
    REPLACED = "replaced"
    WITHDRAWN = "withdrawn"
    KNOWN = "known"
    OLDER = "older"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    LIVES_TOO_LONG = "lives_too_long"
    TOO_MANY = "too_many"


class _Entry:
    """One machine in the book. ``handle`` is None for a tombstone; ``free`` what its provider said when it refused."""

    __slots__ = ("free", "handle", "offer", "place", "row", "source")

    def __init__(self, offer: Verified[Offer], source: bytes) -> None:
        self.offer = offer
        self.source = source
        self.handle: int | None = None
        self.row: Row | None = None
        self.free: tuple[int, int] = (0, 0)
        self.place: str | None = None

    def free_slots(self, offer: Offer | None = None) -> int:
        """Free slots of this version, or of another one, as far as its provider corrected it."""
        of = self.offer.record if offer is None else offer
        version, free = self.free
        return min(of.free_slots, free) if version >= of.version else of.free_slots


class OfferBook:
    """Live offers by (provider, machine). All times are UTC milliseconds given by the caller.

    Args:
        max_skew_ms: how far in the future an offer may be dated.
        max_offers: the limit in all.
        index: what finds offers; by default the one in C where it was built, else the one in Python.
    """

    def __init__(self, *, max_skew_ms: int, max_offers: int = MAX_OFFERS, index: OfferIndex | None = None) -> None:
        # Of the index in C only the Python one's methods are used: they are the same.
        self.index = cast(OfferIndex, open_index()) if index is None else index
        self._compiler = Compiler()
        self._crowds = Crowds()
        self._entries: dict[Name, _Entry] = {}
        self._providers: dict[bytes, dict[str, _Entry]] = {}
        self._numbers: dict[bytes, int] = {}
        self._next_number = 0
        self._at: list[_Entry | None] = []
        self._vacant: list[int] = []
        self._known: dict[bytes, Known] = {}
        self._sources: dict[bytes, dict[Name, None]] = {}
        self._expiry: list[tuple[int, Name]] = []
        self._max_skew_ms = max_skew_ms
        self._max_offers = max_offers

    def __len__(self) -> int:
        return len(self._at) - len(self._vacant)

    def take(self, offer: Verified[Offer], now: int, *, source: bytes = b"") -> Intake:
        """Put a verified offer in the book, unless it is stale, misdated or one too many.

        Args:
            offer: what was heard.
            now: UTC milliseconds.
            source: the peer that handed it to us; empty for our own.
        """
        record = offer.record
        if (verdict := self._misdated(record, now)) is not None:
            return verdict
        name = (record.provider, record.machine)
        entry = self._entries.get(name)
        if entry is not None:
            if entry.offer.id == offer.id:
                return Intake.KNOWN
            if record.version <= entry.offer.record.version:
                return Intake.OLDER
            self._replace(entry, offer)
            return Intake.WITHDRAWN if record.withdrawn else Intake.REPLACED
        if len(self._providers.get(record.provider, ())) >= MAX_MACHINES_PER_PROVIDER:
            return Intake.TOO_MANY
        if len(self._entries) >= self._max_offers:
            self._make_room(now)
        self._add(name, offer, source)
        return Intake.WITHDRAWN if record.withdrawn else Intake.ADDED

    def learn(self, refusal: Refusal, machine: str) -> None:
        """Believe a provider that says its slots are gone: valid for the version it speaks of and older ones."""
        entry = self._entries.get((refusal.provider, machine))
        if entry is not None and entry.handle is not None and refusal.version >= entry.free[0]:
            entry.free = (refusal.version, refusal.free_slots)
            self._compile(entry, was=entry.offer.record)

    def know(self, provider: bytes, known: Known) -> None:
        """Use these local facts about a provider from now on. Its offers are ranked anew by them."""
        if provider not in self._known and len(self._known) >= MAX_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[provider] = known
        for entry in self._providers.get(provider, {}).values():
            if entry.handle is not None:
                self._compile(entry, was=entry.offer.record)

    def known(self, provider: bytes) -> Known:
        """What is known of a provider; :data:`~market.knowledge.STRANGER` when nothing is."""
        return self._known.get(provider, STRANGER)

    def free_slots(self, offer: Offer) -> int:
        """Free slots of an offer, corrected by what its provider said when it refused us."""
        entry = self._entries.get((offer.provider, offer.machine))
        return offer.free_slots if entry is None else entry.free_slots(offer)

    def live(self, now: int) -> Iterator[Verified[Offer]]:
        """Offers that have not expired and are not withdrawn, in no particular order."""
        return (entry.offer for entry in self._at if entry is not None and entry.offer.record.expires_at > now)

    def tombstones(self, now: int) -> Iterator[Verified[Offer]]:
        """Withdrawals that still keep older versions out."""
        return (
            entry.offer
            for entry in self._entries.values()
            if entry.handle is None and entry.offer.record.expires_at > now
        )

    def compile(self, ask: Ask, now: int, *, reference: int | None = None) -> Query:
        """The query for an ask. ``reference`` is the going price, by default :meth:`going_price` of its models."""
        self.drop_expired(now)  # or the going price would depend on when a node last swept its book
        if reference is None:
            reference = self.going_price(ask.requirements.gpus)
        return self._compiler.query(ask, now=now, reference=reference, providers=self._numbers.get)

    def going_price(self, models: tuple[str, ...]) -> int:
        """What these models cost now, nanotokens per GPU-second: the lower median of all their free offers, taken over
        the medians of their classes; 0 for an empty market. All models when none is named."""
        return _going_price(self.index, self._compiler.classes(models))

    def offer_at(self, handle: int) -> Verified[Offer]:
        """The offer that an index calls by this number.

        Raises:
            LookupError: there is none.
        """
        return self._entry_at(handle).offer

    def row_at(self, handle: int) -> Row:
        """The compiled offer of this number, with the free slots that are known of.

        Raises:
            LookupError: there is none.
        """
        row = self._entry_at(handle).row
        assert row is not None
        return row

    def look_up(self, handle: int) -> tuple[Verified[Offer], Row]:
        """Both of the above at once, for lists that are made with every bid.

        Raises:
            LookupError: there is none.
        """
        entry = self._entry_at(handle)
        assert entry.row is not None
        return entry.offer, entry.row

    def row_of(self, provider: bytes, machine: str) -> Row | None:
        """The compiled offer of a machine, live or just expired; None when the book has none."""
        entry = self._entries.get((provider, machine))
        return entry.row if entry is not None else None

    def offers_of(self, provider: bytes) -> list[Verified[Offer]]:
        """What a provider offers, at most :data:`MAX_MACHINES_PER_PROVIDER`."""
        return [entry.offer for entry in self._providers.get(provider, {}).values() if entry.handle is not None]

    def providers(self) -> list[bytes]:
        """Everybody with something in the book."""
        return list(self._providers)

    def rows(self, now: int) -> Iterator[Row]:
        """Every live offer, compiled."""
        return (entry.row for entry in self._at if entry is not None and entry.row and entry.row.expires > now)

    def strangers_only_in(self, place: str) -> Set[int]:
        """The numbers of the providers that offer nothing but from this neighbourhood, without those we dealt with."""
        return self._crowds.only_in(place)

    def drop_expired(self, now: int) -> int:
        """Forget expired offers and tombstones; returns how many."""
        gone = 0
        while self._expiry and self._expiry[0][0] <= now:
            _, name = heapq.heappop(self._expiry)
            entry = self._entries.get(name)
            if entry is None:
                continue
            if entry.offer.record.expires_at > now:
                # Refreshed since: one line per machine, put back when its time came, however often it is said again.
                heapq.heappush(self._expiry, (entry.offer.record.expires_at, name))
                continue
            self._forget(name)
            gone += 1
        return gone

    def _misdated(self, record: Offer, now: int) -> Intake | None:
        if record.expires_at <= now:
            return Intake.EXPIRED
        if record.issued_at > now + self._max_skew_ms:
            return Intake.FROM_THE_FUTURE
        if record.expires_at > now + self._max_skew_ms + MAX_TTL_MS:
            return Intake.LIVES_TOO_LONG
        return None

    def _add(self, name: Name, offer: Verified[Offer], source: bytes) -> None:
        entry = self._entries[name] = _Entry(offer, source)
        provider = name[0]
        if provider not in self._numbers:
            self._numbers[provider] = self._next_number
            self._next_number += 1
        self._providers.setdefault(provider, {})[name[1]] = entry
        self._sources.setdefault(source, {})[name] = None
        if len(self._expiry) > 2 * self._max_offers:
            self._expiry = [(one.offer.record.expires_at, known) for known, one in self._entries.items()]
            heapq.heapify(self._expiry)
        else:
            heapq.heappush(self._expiry, (offer.record.expires_at, name))
        if not offer.record.withdrawn:
            self._place(entry)

    def _replace(self, entry: _Entry, offer: Verified[Offer]) -> None:
        old, row = entry.offer, entry.row
        entry.offer = offer
        if offer.record.expires_at < old.record.expires_at:
            heapq.heappush(self._expiry, (offer.record.expires_at, (offer.record.provider, offer.record.machine)))
        if offer.record.withdrawn:
            self._unplace(entry, old.record)
        elif row is None:
            self._place(entry)
        elif _same_goods(old.record, offer.record):
            # What every node hears every 20 seconds from every other: nothing to compile.
            entry.row = _said_again(row, offer, entry.free_slots())
            self.index.put(entry.row)
            if offer.record.addresses != old.record.addresses:
                self._locate(entry)
        else:
            self._compile(entry, was=old.record)

    def _place(self, entry: _Entry) -> None:
        if self._vacant:
            entry.handle = self._vacant.pop()
            self._at[entry.handle] = entry
        else:
            entry.handle = len(self._at)
            self._at.append(entry)
        self._compile(entry, was=None)

    def _compile(self, entry: _Entry, *, was: Offer | None) -> None:
        """Make the row of an entry anew. ``was`` is the offer behind the row it has now, None when it has none."""
        offer, before = entry.offer, entry.row
        assert entry.handle is not None
        entry.row = self._compiler.row(
            offer,
            self.known(offer.record.provider),
            handle=entry.handle,
            provider=self._numbers[offer.record.provider],
            free=self.free_slots(offer.record),
        )
        self.index.put(entry.row)
        if before is not None and was is not None:
            self._compiler.forget(was, before)
        self._locate(entry)

    def _locate(self, entry: _Entry) -> None:
        """Note where a machine claims to be. Whoever we dealt with is nowhere: no crowd can keep it off a list."""
        record = entry.offer.record
        place = "" if self.known(record.provider).dealt else neighbourhood(record.addresses)[0]
        self._crowds.move(self._numbers[record.provider], entry.place, place)
        entry.place = place

    def _unplace(self, entry: _Entry, offer: Offer) -> None:
        if entry.handle is None:
            return
        assert entry.row is not None
        self.index.drop(entry.handle)
        self._compiler.forget(offer, entry.row)
        self._crowds.move(entry.row.provider, entry.place, None)
        entry.place = None
        self._at[entry.handle] = None
        self._vacant.append(entry.handle)
        entry.handle = entry.row = None

    def _make_room(self, now: int) -> None:
        if self.drop_expired(now):
            return
        # Not who expires first: strangers would then push out everybody by dating their offers a little later.
        crowd = max(self._sources.values(), key=len)
        self._forget(next(iter(crowd)))

    def _forget(self, name: Name) -> None:
        entry = self._entries.pop(name)
        self._unplace(entry, entry.offer.record)
        provider, machine = name
        machines = self._providers[provider]
        del machines[machine]
        if not machines:
            del self._providers[provider], self._numbers[provider]
        mates = self._sources[entry.source]
        del mates[name]
        if not mates:
            del self._sources[entry.source]

    def _entry_at(self, handle: int) -> _Entry:
        entry = self._at[handle] if 0 <= handle < len(self._at) else None
        if entry is None:
            raise LookupError(f"no offer has the number {handle}")
        return entry


_VOLATILE = {"version", "issued_at", "expires_at", "free_slots", "granted", "addresses"}
_goods_of = attrgetter(*(field for field in Offer.__struct_fields__ if field not in _VOLATILE))


def _same_goods(old: Offer, new: Offer) -> bool:
    """Whether a newer version only says again what was said, with other times or other free slots."""
    return bool(_goods_of(old) == _goods_of(new))


def _said_again(row: Row, offer: Verified[Offer], free: int) -> Row:
    """The row of a refresh: identity, time and free slots are new. By position, because it is made all the time."""
    tie = int.from_bytes(offer.id[:8], "big")
    return Row._make((row[0], offer.id, tie, row[3], row[4], offer.record.expires_at, row[6], free, *row[8:]))


def _going_price(index: OfferIndex, classes: tuple[int, ...]) -> int:
    """The lower median of class medians, each counted as often as the class has offers; 0 for an empty market."""
    medians = sorted((price, count) for count, price in map(index.prices, classes) if count)
    half = sum(count for _, count in medians)
    for price, count in medians:
        half -= 2 * count
        if half <= 0:
            return price
    return 0


__all__ = ["MAX_MACHINES_PER_PROVIDER", "MAX_OFFERS", "MAX_TTL_MS", "Intake", "OfferBook"]
