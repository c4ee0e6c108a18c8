"""Looks at the market without being a node: asks a few peers, checks every signature itself, and compares.

It has no keys but those of its connection, made for the occasion, and stores nothing. It works over any
:class:`~node.ports.Network`; what the peers say is judged by :mod:`node.light_check`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

import trio

from market import codec
from market.errors import PeerFault, Unavailable
from market.price_history import HOUR_MS, STEP_MS, Bar, check_bar, joined
from market.records import Bid, Offer
from market.signing import Verified, verify
from node import wire
from node.book_digest import BookView
from node.history_desk import HistoryAnswer, HistoryRequest
from node.light_book import read_book, without
from node.light_check import Discrepancy, Statement, confirmed, doubts, newest
from node.light_peers import LightPeers
from node.ports import Clock, Network, PeerUnreachable
from node.public_desk import MAX_BIDS, MAX_BIDS_ANSWER

GRACE_S = 3.0
"""News may be under way for so long before a peer that lacks it is suspected."""
_ANSWER_S, _BOOK_S = 5.0, 20.0


class Report:
    """What became of one peer.

    Attributes:
        peer: its key.
        answered, complete: whether it answered, and showed everything it was asked for.
        shown: how many records it showed.
        hides, stale: offers it did not show as they are.
        forged: how many envelopes of it nobody signed like that, by code.
    """

    def __init__(self, peer: bytes, *, answered: bool) -> None:
        self.peer, self.answered, self.complete = peer, answered, False
        self.shown = 0
        self.hides: list[Discrepancy] = []
        self.stale: list[Discrepancy] = []
        self.forged: Counter[str] = Counter()


class Sighting:
    """A live offer, and how many of the peers that answered show its machine for sale."""

    __slots__ = ("offer", "seen_by")

    def __init__(self, offer: Verified[Offer], seen_by: int) -> None:
        self.offer, self.seen_by = offer, seen_by


class LightClient:
    """One look at the market.

    Args:
        introducers: addresses of the peers to begin with, each ending in ``/p2p/<peer id>``.
        luck: chooses among the peers found.

    Attributes:
        clock_is_doubtful: most of what most peers show is over or yet to come by our clock.
    """

    def __init__(
        self, network: Network, clock: Clock, introducers: Iterable[str], *, luck: random.Random | None = None
    ) -> None:
        self._network = network
        self._clock = clock
        self._peers = LightPeers(network, introducers, luck or random.SystemRandom())
        self._verified: dict[bytes, Verified[Offer]] = {}
        self.clock_is_doubtful = False

    async def offers(self) -> tuple[list[Sighting], list[Report]]:
        """Ask for whole books, and ask again whoever is in doubt. Withdrawn offers are left out.

        Raises:
            Unavailable: ``no_peers``, nobody answered.
        """
        told: dict[bytes, Statement] = {}

        async def ask(peer: bytes) -> None:
            told[peer] = await self._hear(peer, BookView(()))

        reports = self._reports(await self._peers.ask_several(ask))
        for peer, statement in told.items():
            report = reports[peer]
            report.complete, report.shown, report.forged = statement.complete, statement.live, statement.forged
        out_of_time = [one for one in told.values() if one.misdated > one.live]
        self.clock_is_doubtful = 2 * len(out_of_time) > len(told)
        if not self.clock_is_doubtful:
            for peer, statement in told.items():
                reports[peer].stale = [Discrepancy(true=offer, shown=offer) for offer in statement.over]
        await self._ask_again(told, reports)
        return _sightings(told.values()), list(reports.values())

    async def bids(self) -> tuple[list[Verified[Bid]], list[Report]]:
        """Ask for live bids, newest first. They live for a minute and are told once: that a peer lacks some is no lie.

        Raises:
            Unavailable: ``no_peers``, nobody answered.
        """
        found: dict[bytes, Verified[Bid]] = {}

        async def read(answer: bytes) -> int:
            raws = codec.unpack_list(answer, limit=MAX_BIDS_ANSWER)[:MAX_BIDS]
            found.update({bid.id: bid for bid in (verify(raw, Bid) for raw in raws)})
            return len(raws)

        reports = await self._gather(wire.PROTOCOL_BIDS, b"", MAX_BIDS_ANSWER, read)
        now = self._clock.now_ms()
        live = [bid for bid in found.values() if bid.record.issued_at <= now + wire.MAX_CLOCK_SKEW_MS]
        live = [bid for bid in live if bid.record.expires_at > now]
        return sorted(live, key=lambda bid: (-bid.record.issued_at, bid.id)), reports

    async def history(self, wanted: HistoryRequest) -> tuple[list[Bar], list[Report]]:
        """Ask for bars of prices, and join those of all peers, newest first: the lowest and dearest that anybody
        proves, and the median of the medians.

        Raises:
            Unavailable: ``no_peers``, nobody answered.
        """
        found: dict[tuple[str, bool], list[Bar]] = {}
        step_ms = max(STEP_MS, wanted.step_ms)

        async def read(answer: bytes) -> int:
            shown = codec.unpack_record(answer, HistoryAnswer, limit=wire.MAX_RESPONSE)
            now = self._clock.now_ms()
            for bar in shown.bars:
                if bar.span_ms > max(step_ms, HOUR_MS) or bar.closed_at <= wanted.since:
                    raise PeerFault("a bar that was not asked for", code="bad_history")
                check_bar(bar, now, max_skew_ms=wire.MAX_CLOCK_SKEW_MS)
                await trio.lowlevel.checkpoint()  # three signatures each; other answers wait, and have a time limit
            for bar in shown.bars:
                found.setdefault((bar.gpu, bar.simulated), []).append(bar)
            return len(shown.bars)

        reports = await self._gather(wire.PROTOCOL_HISTORY, codec.pack_record(wanted), wire.MAX_RESPONSE, read)
        bars = [
            bar
            for of_model in found.values()
            for bar in joined(sorted(of_model, key=lambda bar: bar.closed_at), step_ms)
        ]
        return sorted(bars, key=lambda bar: (-bar.closed_at, bar.gpu, bar.simulated)), reports

    def addresses(self, peer: bytes) -> tuple[str, ...]:
        """Where a peer was said to be."""
        return self._peers.addresses(peer)

    async def _hear(self, peer: bytes, view: BookView) -> Statement:
        statement = Statement(peer)
        with trio.move_on_after(_BOOK_S):
            await read_book(self._network, statement, self._clock, self._verify, view)
        return statement

    async def _ask_again(self, told: dict[bytes, Statement], reports: dict[bytes, Report]) -> None:
        suspects = doubts(list(told.values()), self._clock.now_ms(), grace_ms=round(GRACE_S * 1000))
        if not suspects:
            return
        await trio.sleep(GRACE_S)

        async def ask(peer: bytes, in_doubt: list[Discrepancy]) -> None:
            providers = frozenset(one.true.record.provider for one in in_doubt)
            try:
                again = await self._hear(peer, without(told[peer], providers))
            except PeerUnreachable:
                return
            for one in confirmed(in_doubt, again):
                (reports[peer].hides if one.shown is None else reports[peer].stale).append(one)

        async with trio.open_nursery() as nursery:
            for peer, in_doubt in suspects.items():
                nursery.start_soon(ask, peer, in_doubt)

    def _verify(self, raw: bytes) -> Verified[Offer]:
        """What two peers show alike is checked once."""
        if (known := self._verified.get(raw)) is None:
            known = self._verified[raw] = verify(raw, Offer)
        return known

    async def _gather(
        self, protocol: str, request: bytes, max_response: int, read: Callable[[bytes], Awaitable[int]]
    ) -> list[Report]:
        """One request to several peers; ``read`` says how many records an answer holds, or raises ``PeerFault``."""
        shown: dict[bytes, int] = {}
        forged: dict[bytes, str] = {}

        async def ask(peer: bytes) -> None:
            answer = await self._network.request(peer, protocol, request, timeout=_ANSWER_S, max_response=max_response)
            try:
                shown[peer] = await read(answer)
            except PeerFault as fault:
                forged[peer] = fault.code

        reports = self._reports(await self._peers.ask_several(ask))
        for peer, report in reports.items():
            report.shown, report.complete = shown.get(peer, 0), peer in shown
            if peer in forged:
                report.forged[forged[peer]] += 1
        return list(reports.values())

    def _reports(self, answered: dict[bytes, bool]) -> dict[bytes, Report]:
        if not any(answered.values()):
            raise Unavailable(
                f"none of {len(answered)} peers answered: {self._peers.first()}",
                code="no_peers",
                fix="see that it is up and the address right, or name one that is: --join ADDRESS/p2p/PEER",
            )
        return {peer: Report(peer, answered=did) for peer, did in answered.items()}


def _sightings(statements: Iterable[Statement]) -> list[Sighting]:
    heard = list(statements)
    seen = Counter(name for one in heard for name, offer in one.shown.items() if not offer.record.withdrawn)
    return [Sighting(offer, seen[name]) for name, offer in newest(heard).items() if not offer.record.withdrawn]
