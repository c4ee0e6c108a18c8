"""Asks other nodes for what our book lacks, and shows them ours. Gossip brings news; this brings what gossip missed.

Peers take turns: first whoever connected since the last round, then whoever was not asked for the longest time. While
our book is behind, several are asked at once, each from another name on, so that they show different pages; when a
round brought little, one is asked now and then. What they show is judged as gossip is, and costs them the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from bootstrap.containment import contained
from market.errors import PeerFault
from market.offer_book import Intake, OfferBook
from market.records import Offer
from market.signing import Verified
from node import wire
from node.admission import Judged
from node.book_digest import LATER, BookView, Page, name_of, read_page, read_question
from node.peer_budgets import BOOK_BYTES_RATE, BOOK_PAGE_COST, BOOK_RATE, Bucket, PeerBudgets
from node.ports import Clock, Network, PeerUnreachable, Verdict

_AT_ONCE, _UNDER_WAY = 3, 8
"""Visits begun in one round, and visits in all: a peer that does not answer must not keep us from asking others."""
_PATIENCE_S = 1.0
_PAGES_AT_MOST = 32
"""In one visit: a peer that has more to show, or says so, waits for its next turn."""
_FIRST_WAIT_S, _LAST_WAIT_S, _EMPTY_WAIT_S = 0.5, 10.0, 1.0
_GLANCE_S = 0.25
"""How often we look whether somebody new has connected."""
_SHOWN_FOR_S = 1.0
_VIEWED_PER_S = 20_000
"""Offers. A large book is looked over less often, so that it takes a small share of our time."""
_JUDGED_AT_ONCE = 8
_USELESS_AT_MOST = 128
"""Expired, outdated or refused records after which we leave. An honest peer shows what we lack, and by chance a few
others; somebody who wants us to check signatures for nothing has no end of them."""
_OF_USE = (Intake.ADDED, Intake.REPLACED, Intake.WITHDRAWN, Intake.KNOWN)
_FEW = 32
"""A round that added more than one machine for this many in the book shows that we were behind."""


@dataclass
class _Visit:
    """One peer that is being asked, and how many records it has shown that were of no use."""

    peer: bytes
    useless: int = 0


class BookSync:
    """Both sides of the exchange for one node.

    Args:
        network: the node's network.
        clock: what is expired.
        book: the node's offers.
        judge: judges envelopes that a peer has shown.
        take: puts a verified offer from a peer in the book and says what became of it.
        budgets: what each peer may still ask.
    """

    def __init__(
        self,
        network: Network,
        clock: Clock,
        book: OfferBook,
        *,
        judge: Callable[[bytes, list[bytes]], Judged[Offer]],
        take: Callable[[Verified[Offer], bytes], Intake],
        budgets: PeerBudgets,
    ) -> None:
        self._network, self._clock, self._book = network, clock, book
        self._judge, self._take, self._budgets = judge, take, budgets
        self._all_shown = Bucket(BOOK_BYTES_RATE, 0.0)
        self._view, self._viewed_at = BookView(()), 0.0
        self._asked: dict[bytes, int] = {}
        self._visited: set[bytes] = set()
        self._round = 0
        self._missing = 0

    def register(self) -> None:
        """Answer peers that ask, from now on."""
        self._network.serve(wire.PROTOCOL_BOOK, self._answer, max_request=wire.MAX_BOOK_REQUEST)

    async def keep_up_forever(self) -> None:
        """Ask peers, soon again while we are behind or somebody new is there, otherwise ever more seldom."""
        wait, behind = _FIRST_WAIT_S, True
        async with trio.open_nursery() as nursery:
            while True:
                await contained(self._ask_some, nursery, behind)
                missing, self._missing = self._missing, 0
                behind = missing * _FEW > len(self._book) or not len(self._book)
                wait = _FIRST_WAIT_S if behind else min(2 * wait, _LAST_WAIT_S)
                await contained(self._wait, wait if len(self._book) else _EMPTY_WAIT_S)

    async def _wait(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                await trio.sleep(_GLANCE_S)
                if any(info.key not in self._asked for info in self._network.peers()):
                    return

    async def _ask_some(self, nursery: trio.Nursery, behind: bool) -> None:
        self._book.drop_expired(self._clock.now_ms())
        connected = [info.key for info in self._network.peers()]
        self._asked = {peer: self._asked[peer] for peer in connected if peer in self._asked}
        free = sorted(
            (peer for peer in connected if peer not in self._visited), key=lambda peer: self._asked.get(peer, -1)
        )
        new = sum(peer not in self._asked for peer in free)
        wanted = _AT_ONCE if behind else max(1, min(new, _AT_ONCE))
        chosen = free[: min(wanted, _UNDER_WAY - len(self._visited))]
        self._round += 1
        visits = []
        for number, peer in enumerate(chosen):
            self._asked[peer] = self._round
            self._visited.add(peer)
            visits.append(trio.Event())
            nursery.start_soon(self._visit, peer, bytes([256 * number // len(chosen)]) if number else b"", visits[-1])
        with trio.move_on_after(_PATIENCE_S):
            for visit in visits:
                await visit.wait()

    async def _visit(self, peer: bytes, start: bytes, done: trio.Event) -> None:
        try:
            await contained(self._read_book, peer, start)
        finally:
            self._visited.discard(peer)
            done.set()

    async def _read_book(self, peer: bytes, start: bytes) -> None:
        """Read all that we lack, from one name on to the last, and then from the first up to there."""
        visit = _Visit(peer)
        try:
            if await self._read_pages(visit, start, b"") and start:
                await self._read_pages(visit, b"", start)
        except PeerUnreachable:
            return
        except PeerFault as fault:
            self._network.penalise(peer, fault.code)

    async def _read_pages(self, visit: _Visit, after: bytes, until: bytes) -> bool:
        """Whether the peer showed everything it has that we lack, from ``after`` at least to ``until``."""
        for _ in range(_PAGES_AT_MOST):
            answer = await self._network.request(
                visit.peer,
                wire.PROTOCOL_BOOK,
                self._look(0.0).question(after),
                timeout=wire.REQUEST_TIMEOUT_S,
                max_response=wire.MAX_RESPONSE,
            )
            page = read_page(answer, after=after, limit=wire.MAX_RESPONSE)
            if page is None or not await self._keep(visit, page, after):
                return False
            if not page.then or (until and page.then >= until):
                return True
            after = page.then
        return False

    async def _keep(self, visit: _Visit, page: Page, after: bytes) -> bool:
        """Judge and keep what a page shows. False: the peer has shown us as much as we look at for now."""
        last = after
        for start in range(0, len(page.envelopes), _JUDGED_AT_ONCE):
            envelopes = page.envelopes[start : start + _JUDGED_AT_ONCE]
            judged = self._judge(visit.peer, envelopes)
            if judged.verdict is Verdict.REJECT:
                raise PeerFault("a record in a book that nobody may pass on", code=judged.reason)
            if judged.verdict is Verdict.POSTPONE:
                return False
            visit.useless += len(envelopes)
            for offer in judged.records:
                name = name_of(offer.record)
                if name <= last or (page.then and name > page.then):
                    raise PeerFault("a page of a book that is out of order", code="not_asked")
                last = name
                outcome = self._take(offer, visit.peer)
                self._missing += outcome in (Intake.ADDED, Intake.WITHDRAWN)
                visit.useless -= outcome in _OF_USE
            if visit.useless > _USELESS_AT_MOST:
                return False
            await trio.lowlevel.checkpoint()
        return True

    async def _answer(self, peer: bytes, question: bytes) -> bytes:
        """Show our book, as it was up to a second ago.

        An answer may be a mebibyte: a peer that asks more often than any node of ours does is told to come later, and
        so is everybody while all together ask for more than we can spare.
        """
        asked, now = read_question(question), trio.current_time()
        if not self._budgets.allow(peer, BOOK_RATE, now) or not self._all_shown.take(now, BOOK_PAGE_COST):
            return LATER
        page = self._look(_SHOWN_FOR_S).answer(asked, limit=wire.MAX_RESPONSE)
        return page if self._all_shown.take(now, max(0, len(page) - BOOK_PAGE_COST)) else LATER

    def _look(self, old_at_most: float) -> BookView:
        """Our book as it is now, or was up to so many seconds ago; longer when it is large, never when it was empty."""
        now = trio.current_time()
        if now - self._viewed_at > max(old_at_most, len(self._view) / _VIEWED_PER_S) or not len(self._view):
            now_ms = self._clock.now_ms()
            self._view = BookView((*self._book.live(now_ms), *self._book.tombstones(now_ms)))
            self._viewed_at = now
        return self._view
