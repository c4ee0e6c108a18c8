"""Where peers may be reached, and when to try each again. Bounded; pure except for :func:`load` and :func:`save`.

Everyone can tell us addresses, so an entry proves nothing: a dial expects the peer's key, and a peer that never
answers is tried ever more seldom and is the first to be forgotten.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from bootstrap.identity import key_of_peer_id, peer_id_of
from bootstrap.peer_address import PeerAddress, dialable
from bootstrap.secret_file import replace_secret
from market.errors import InvalidRequest

MAX_PEERS = 1024
MAX_ADDRESSES = 8
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 60.0
_MAX_FILE = 4 * 1024 * 1024


@dataclass
class _Entry:
    addresses: tuple[PeerAddress, ...] = ()
    is_kept: bool = False
    failures: int = 0
    next_try: float = field(default=0.0)


class AddressBook:
    """Addresses by key. ``now`` is any clock that only goes forward, in seconds."""

    def __init__(self, own_key: bytes, luck: random.Random) -> None:
        self._own_key, self._luck = own_key, luck
        self._entries: dict[bytes, _Entry] = {}

    def learn(self, peer: bytes, addresses: tuple[PeerAddress, ...], *, keep: bool = False) -> bool:
        """Add addresses, newest first; ``True`` when any was new. A peer to ``keep`` is never forgotten."""
        if peer == self._own_key or not addresses:
            return False
        entry = self._entries.get(peer)
        if entry is None:
            self._make_room()
            entry = self._entries[peer] = _Entry()
        entry.is_kept |= keep
        is_new = not set(addresses) <= set(entry.addresses)
        if is_new:
            merged = (*addresses, *(known for known in entry.addresses if known not in addresses))
            entry.addresses = merged[:MAX_ADDRESSES]
            entry.next_try = 0.0
        return is_new

    def addresses(self, peer: bytes) -> tuple[PeerAddress, ...]:
        """What we know of a peer, best first."""
        entry = self._entries.get(peer)
        return entry.addresses if entry else ()

    def kept(self) -> list[bytes]:
        """The peers that were added to be kept: our introducers."""
        return [peer for peer, entry in self._entries.items() if entry.is_kept]

    def due(self, now: float) -> list[bytes]:
        """The peers whose turn to be tried has come: introducers first, then those that failed least."""
        ready = [(peer, entry) for peer, entry in self._entries.items() if entry.next_try <= now]
        self._luck.shuffle(ready)
        return [peer for peer, _ in sorted(ready, key=lambda item: (not item[1].is_kept, item[1].failures))]

    def tried(self, peer: bytes, *, worked: bool, now: float) -> None:
        """A dial ended. The wait doubles from one second to a minute with each failure, give or take a half."""
        if entry := self._entries.get(peer):
            entry.failures = 0 if worked else entry.failures + 1
            wait = min(FIRST_WAIT_S * 2 ** min(entry.failures, 10), LAST_WAIT_S)
            entry.next_try = now + wait * self._luck.uniform(0.5, 1.0)

    def worked_at(self, peer: bytes, address: PeerAddress) -> None:
        """This address answered: try it first."""
        if (entry := self._entries.get(peer)) and address in entry.addresses:
            others = tuple(known for known in entry.addresses if known != address)
            entry.addresses = (address, *others)

    def _make_room(self) -> None:
        if len(self._entries) >= MAX_PEERS:
            forgettable = [peer for peer, entry in self._entries.items() if not entry.is_kept]
            worst = max(forgettable, key=lambda peer: self._entries[peer].failures)
            del self._entries[worst]

    def to_json(self) -> dict[str, list[str]]:
        """The book as plain data, without what was only tried."""
        return {
            peer_id_of(peer): [str(address) for address in entry.addresses] for peer, entry in self._entries.items()
        }


def load(book: AddressBook, path: Path) -> None:
    """Add what an earlier run saved. A damaged file is ignored: the book is only a memory of where to look."""
    try:
        with open(path, "rb") as file:
            saved = json.loads(file.read(_MAX_FILE))
        entries = [(str(peer), tuple(map(str, texts))) for peer, texts in saved.items()][:MAX_PEERS]
    except (OSError, ValueError, AttributeError, TypeError):
        return
    for text, texts in entries:
        try:
            peer = key_of_peer_id(text)
        except InvalidRequest:
            continue
        book.learn(peer, dialable(peer, texts, limit=MAX_ADDRESSES))


def save(book: AddressBook, path: Path) -> None:
    """Write the book for the next run. Raises ``OSError``."""
    replace_secret(path, json.dumps(book.to_json(), indent=0).encode())
