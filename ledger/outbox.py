"""The transactions that an account has signed and whose end is not certain yet. Written down before they are sent.

A node that is killed finds here what it may have sent: it sends the same bytes again, under the same nonce, instead of
the same act twice. Each nonce has one slot of a ring in the journal's value table, so that the table never grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from ledger.ports import OLD_COPY, Journal, NewEntry, Transaction
from ledger.raw_transaction import RawTransaction, read_transaction
from market.codec import pack_record, unpack_record
from market.errors import Unavailable

MAX_OPEN = 64
"""Transactions on their way at once; nodes keep no more of one account either."""
MAX_FORMS = 48
"""Times that one transaction is signed anew at a higher fee."""
_LIMIT = 512 * 1024


class Form(Struct, frozen=True, kw_only=True):
    """One of the forms in which a transaction was signed: wei per gas, and its hash."""

    hash: bytes
    fee_cap: int
    tip_cap: int


class Flight(Struct, frozen=True, kw_only=True):
    """A transaction on its way. ``raw`` is its newest form, the last of ``forms``. ``told``: its sender knows that it
    was mined. ``end`` says how it ended."""

    nonce: int
    raw: bytes
    forms: tuple[Form, ...]
    urgent: bool = False
    at_ms: int = 0
    told: bool = False
    end: str = ""

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Of every form, newest first: the likeliest to be mined."""
        return tuple(form.hash for form in reversed(self.forms))

    def call(self) -> RawTransaction:
        """What it asks of the chain."""
        return read_transaction(self.raw)


class TransactionSigned(Struct, frozen=True, kw_only=True):
    """About to be sent. One entry per form."""

    nonce: int
    hash: bytes
    fee_cap: int
    tip_cap: int


class TransactionConfirmed(Struct, frozen=True, kw_only=True):
    """Mined as deep as its sender asked for; a reorganisation may still take it back."""

    nonce: int
    hash: bytes
    block: int


class TransactionEnded(Struct, frozen=True, kw_only=True):
    """``mined`` for good, ``displaced`` by another of the same nonce, or ``refused`` by every endpoint."""

    nonce: int
    end: str
    hash: bytes = b""


_Fact = TransactionSigned | TransactionConfirmed | TransactionEnded


class Outbox:
    """Flights of one account on one chain. Without a journal they are remembered as long as the process lives.

    Args:
        now_ms: UTC milliseconds, for the journal.

    Attributes:
        copied: nonces of flights that an old copy of the journal had: their newest forms may be lost.
    """

    def __init__(self, journal: Journal | None, *, chain_id: int, account: bytes, now_ms: Callable[[], int]) -> None:
        self._journal = journal
        self._root = f"sending/{chain_id}-{account.hex()}"
        self._now_ms = now_ms
        self._flights: dict[int, Flight] = {}
        self._used = -1
        self.copied: frozenset[int] = frozenset()

    @property
    def durable(self) -> bool:
        """Whether it outlives the process."""
        return self._journal is not None

    @property
    def next_nonce(self) -> int:
        """Above every nonce of ours that may have been used."""
        return max((self._used, *self._flights)) + 1

    def open(self) -> list[Flight]:
        """Flights without a certain end, in the order of their nonces."""
        return [self._flights[nonce] for nonce in sorted(self._flights)]

    def get(self, nonce: int) -> Flight | None:
        """The open flight of a nonce."""
        return self._flights.get(nonce)

    async def load(self) -> None:
        """Read what the last run left. Safe to repeat."""
        if self._journal is None:
            return
        found = await self._journal.get_all(self._root + "/")
        flights = [unpack_record(raw, Flight, limit=_LIMIT) for raw in found.values()]
        self._flights = {one.nonce: one for one in flights if not one.end}
        self._used = max((one.nonce for one in flights if one.end and one.end != "refused"), default=-1)
        self.copied = await self._from_a_copy(self._journal)

    async def _from_a_copy(self, journal: Journal) -> frozenset[int]:
        copied_at = max((entry.position for entry in await journal.read(OLD_COPY)), default=0)
        if not copied_at:
            return frozenset()
        since = await journal.read_all(prefix=self._root, after=copied_at)
        signed = [unpack_record(one.body, TransactionSigned) for one in since if one.kind == "TransactionSigned"]
        return frozenset(self._flights) - {one.nonce for one in signed}

    async def write(self, flight: Flight, *, instead_of: Flight | None = None) -> Flight:
        """Make a flight's newest form durable. Only after this may it be sent.

        Args:
            instead_of: a displaced flight that ends in the same instant, as this one does its work.

        Raises:
            Unavailable: ``outbox_full``, or the journal could not write; nothing changed.
        """
        if any((nonce - flight.nonce) % MAX_OPEN == 0 and nonce != flight.nonce for nonce in self._flights):
            raise Unavailable("too many transactions are on their way", code="outbox_full")
        flight = replace(flight, at_ms=flight.at_ms or self._now_ms())
        newest = flight.forms[-1]
        facts: list[_Fact] = [
            TransactionSigned(nonce=flight.nonce, hash=newest.hash, fee_cap=newest.fee_cap, tip_cap=newest.tip_cap)
        ]
        slots = [flight]
        if instead_of is not None:
            facts.append(TransactionEnded(nonce=instead_of.nonce, end="displaced"))
            slots.append(replace(instead_of, raw=b"", end="displaced"))
        await self._append(facts, slots)
        self._flights[flight.nonce] = flight
        if instead_of is not None:
            self._forget(instead_of)
        return flight

    async def confirm(self, flight: Flight, mined: Transaction) -> None:
        """The flight's sender is about to be told. Best effort: a journal that cannot write just now does not change
        that the transaction is mined."""
        told = replace(flight, told=True)
        self._flights[flight.nonce] = told
        fact = TransactionConfirmed(nonce=flight.nonce, hash=mined.hash, block=mined.block)
        with suppress(Unavailable):
            await self._append([fact], [told])

    async def end(self, flight: Flight, end: str, hash: bytes = b"") -> None:
        """The flight's end is certain. A journal that cannot write just now loses nothing: it is found out again."""
        fact = TransactionEnded(nonce=flight.nonce, end=end, hash=hash)
        if end == "refused":
            self._flights.pop(flight.nonce, None)
        else:
            self._forget(flight)
        with suppress(Unavailable):
            await self._append([fact], [replace(flight, raw=b"", end=end)])

    def _forget(self, flight: Flight) -> None:
        self._flights.pop(flight.nonce, None)
        self._used = max(self._used, flight.nonce)

    async def _append(self, facts: Sequence[_Fact], flights: Sequence[Flight]) -> None:
        if self._journal is None:
            return
        now_ms = self._now_ms()
        entries = [
            NewEntry(stream=self._root, kind=type(fact).__name__, at_ms=now_ms, body=pack_record(fact))
            for fact in facts
        ]
        put = {f"{self._root}/{flight.nonce % MAX_OPEN:02}": pack_record(flight) for flight in flights}
        await self._journal.append(entries, put, urgent=any(flight.urgent for flight in flights))
