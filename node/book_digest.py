"""Two books compared in one question and one answer: what has the other that I lack? Pure.

A book is looked at in the order of its *names* (provider, then machine) and cut into buckets by the first bits of the
provider's key. The question carries one short hash for each bucket of the asker's book; the answer, the envelopes of
all buckets whose hashes differ, withdrawals among them, as many as fit, and after which name to go on. Whoever sends no
hashes is shown the whole book.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from msgspec import Struct

from market import codec
from market.errors import PeerFault
from market.records import Offer
from market.signing import Verified

BUCKETS = (64, 512, 4096)
"""Into how many buckets a book may be cut; powers of two. With about one machine to a bucket, an offer that gossip has
brought to one of two nodes only moments ago costs little more than itself."""
DIGEST_BYTES = 8
MAX_NAME = 32 + 4 * 64
MAX_QUESTION = BUCKETS[-1] * DIGEST_BYTES + MAX_NAME + 16
LATER = codec.pack([])
"""The answer to one who asks too often: no page at all."""
_PREFIX_BITS = 16
_ITEM_BYTES = 5
"""What MessagePack puts before a long byte string."""


class Question(Struct, frozen=True, kw_only=True):
    """What one node asks another.

    Attributes:
        have: a hash for each bucket of the asker's book, or empty.
        after: the last name that was dealt with; empty at the beginning.
    """

    have: bytes = b""
    after: bytes = b""


class Page(Struct, frozen=True, kw_only=True):
    """A part of an answer.

    Attributes:
        envelopes: signed offers, in the order of their names.
        then: the name after which there is more; empty when there is none.
    """

    envelopes: list[bytes]
    then: bytes = b""


class BookView:
    """A book as it was at one moment.

    Args:
        offers: the newest version of each machine, tombstones too.
    """

    def __init__(self, offers: Iterable[Verified[Offer]]) -> None:
        named = {name_of(offer.record): offer for offer in offers}
        self._names = sorted(named)
        self._offers = [named[name] for name in self._names]
        self._cut: dict[int, dict[int, tuple[int, int]]] = {}
        self._digests: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._names)

    def question(self, after: bytes = b"") -> bytes:
        """Ask for what this book lacks of the names after ``after``."""
        enough = next((buckets for buckets in BUCKETS if buckets >= len(self)), BUCKETS[-1])
        return codec.pack([after, self.digests(enough) if self._names else b""])

    def digests(self, buckets: int) -> bytes:
        """One hash for each of so many buckets, zeros for an empty one."""
        if buckets not in self._digests:
            found = bytearray(buckets * DIGEST_BYTES)
            for bucket, (start, stop) in self._ranges(buckets).items():
                ids = b"".join(offer.id for offer in self._offers[start:stop])
                found[_place(bucket)] = hashlib.blake2b(ids, digest_size=DIGEST_BYTES).digest()
            self._digests[buckets] = bytes(found)
        return self._digests[buckets]

    def answer(self, question: Question, *, limit: int) -> bytes:
        """The first page for a question: at most ``limit`` bytes."""
        first = bisect_right(self._names, question.after)
        room = limit - MAX_NAME - 16
        chosen: list[bytes] = []
        last = b""
        for start, stop in self._differing(question.have):
            for place in range(max(start, first), stop):
                raw = self._offers[place].raw
                room -= len(raw) + _ITEM_BYTES
                if room < 0:
                    return codec.pack([last, *chosen])
                chosen.append(raw)
                last = self._names[place]
        return codec.pack([b"", *chosen])

    def _differing(self, have: bytes) -> Iterator[tuple[int, int]]:
        if not have:
            yield 0, len(self._names)
            return
        buckets = len(have) // DIGEST_BYTES
        own = self.digests(buckets)
        for bucket, span in self._ranges(buckets).items():
            if own[_place(bucket)] != have[_place(bucket)]:
                yield span

    def _ranges(self, buckets: int) -> dict[int, tuple[int, int]]:
        """Where each bucket that is not empty begins and ends, in the order of names."""
        if buckets not in self._cut:
            shift = _PREFIX_BITS + 1 - buckets.bit_length()
            ends: dict[int, int] = {}
            for place, name in enumerate(self._names, 1):
                ends[int.from_bytes(name[:2], "big") >> shift] = place
            start, spans = 0, {}
            for bucket, end in ends.items():
                spans[bucket] = (start, end)
                start = end
            self._cut[buckets] = spans
        return self._cut[buckets]


def name_of(offer: Offer) -> bytes:
    """The name of a machine: the provider's key, then the machine's own name."""
    return offer.provider + offer.machine.encode()


def read_question(raw: bytes) -> Question:
    """Decode a question; nothing at all asks for everything.

    Raises:
        PeerFault: it is none.
    """
    if not raw:
        return Question()
    parts = codec.unpack_list(raw, limit=MAX_QUESTION)
    if len(parts) != 2:
        raise PeerFault("a question about a book has two parts", code="bad_question")
    after, have = parts
    if len(after) > MAX_NAME or (have and len(have) not in {count * DIGEST_BYTES for count in BUCKETS}):
        raise PeerFault("a question about a book of no known form", code="bad_question")
    return Question(have=have, after=after)


def read_page(raw: bytes, *, after: bytes, limit: int) -> Page | None:
    """Decode an answer to a question about the names after ``after``; None when the peer will answer later.

    Raises:
        PeerFault: it is no page, it repeats itself, or it leads nowhere.
    """
    parts = codec.unpack_list(raw, limit=limit)
    if not parts:
        return None
    then, *envelopes = parts
    if then and (not after < then or len(then) > MAX_NAME or not envelopes):
        raise PeerFault("a page of a book that leads nowhere", code="endless_book")
    if len(set(envelopes)) < len(envelopes):
        raise PeerFault("a page of a book that repeats itself", code="not_asked")
    return Page(envelopes=envelopes, then=then)


def _place(bucket: int) -> slice:
    return slice(bucket * DIGEST_BYTES, (bucket + 1) * DIGEST_BYTES)
