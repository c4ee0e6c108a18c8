"""Keeps the price history of what this node hears, over restarts, and shows it to peers that ask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import trio
from msgspec import Meta, Struct

from bootstrap.containment import contained
from bootstrap.secret_file import replace_secret
from market import codec
from market.price_history import MAX_SPAN_MS, Bar, PriceHistory
from market.records import Millis, Offer, Word
from market.signing import Verified
from node import wire
from node.peer_budgets import PeerBudgets, Rate
from node.ports import Clock, Network

log = logging.getLogger(__name__)

HISTORY_RATE = Rate(per_second=0.2, burst=10.0)
"""Times that we show one peer our history. Each may be a mebibyte."""
HISTORY_TOTAL = Rate(per_second=5.0, burst=50.0)
"""The same for all peers together: new identities cost nothing."""
MAX_BARS = 4096
_LOOK_EVERY_S = 20.0
_MAX_FILE = 64 * 1024 * 1024
_BAR_BYTES = 256
"""Of a bar on the wire beside its evidence, at most."""


class HistoryRequest(Struct, frozen=True, kw_only=True):
    """Which bars are wanted: of one model or all, closed after ``since``, joined to one per ``step_ms``."""

    gpu: Word = ""
    since: Millis = 0
    step_ms: Annotated[int, Meta(ge=0, le=MAX_SPAN_MS)] = 0


class HistoryAnswer(Struct, frozen=True, kw_only=True):
    """Bars, the newest first; ``complete`` is false where older ones did not fit."""

    bars: Annotated[tuple[Bar, ...], Meta(max_length=MAX_BARS)] = ()
    complete: bool = True


class HistoryDesk:
    """One node's memory of prices.

    Args:
        live: the offers that are live at a time, such as :meth:`market.offer_book.OfferBook.live`.
        path: where it is kept over restarts.
    """

    def __init__(
        self, network: Network, clock: Clock, live: Callable[[int], Iterable[Verified[Offer]]], *, path: Path | None
    ) -> None:
        self._network = network
        self._clock = clock
        self._live = live
        self._path = path
        self._budgets = PeerBudgets()
        self.history = PriceHistory()

    def register(self) -> None:
        """Answer peers that ask, from now on."""
        self._network.serve(wire.PROTOCOL_HISTORY, self._answer, max_request=512)

    async def keep_forever(self) -> None:
        """Take what an earlier run kept, then a bar of each model every ten minutes, until cancelled."""
        await contained(self._load)
        while True:
            # Not at once: a node that has just started knows few offers yet.
            await trio.sleep(_LOOK_EVERY_S)
            await contained(self._look)

    async def _look(self) -> None:
        now = self._clock.now_ms()
        if self.history.close(self._live(now), now) and self._path is not None:
            try:
                await trio.to_thread.run_sync(replace_secret, self._path, self.history.dump())
            except OSError as error:
                log.warning("the price history could not be saved to %s: %s", self._path, error.strerror)

    async def _load(self) -> None:
        if self._path is None:
            return
        try:
            async with await trio.open_file(self._path, "rb") as file:
                raw = await file.read(_MAX_FILE)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("the price history cannot be read from %s: %s", self._path, error.strerror)
            return
        if not self.history.restore(raw, self._clock.now_ms()):
            log.warning("%s is no price history; a new one is begun", self._path)

    async def _answer(self, peer: bytes, request: bytes) -> bytes:
        """Show our bars; nothing to a peer that asks more often than anybody needs to."""
        asked = codec.unpack_record(request, HistoryRequest, limit=512)
        now = trio.current_time()
        if not (self._budgets.allow(peer, HISTORY_RATE, now) and self._budgets.allow(b"", HISTORY_TOTAL, now)):
            return codec.pack_record(HistoryAnswer(complete=False))
        return codec.pack_record(
            fitting(self.history.bars(asked.gpu, since=asked.since, step_ms=asked.step_ms), wire.MAX_RESPONSE)
        )


def fitting(bars: list[Bar], limit: int) -> HistoryAnswer:
    """As many of the bars, from the front, as an answer of ``limit`` bytes holds."""
    size, count = 64, 0
    for bar in bars[:MAX_BARS]:
        size += bar.size + _BAR_BYTES
        if size > limit:
            break
        count += 1
    return HistoryAnswer(bars=tuple(bars[:count]), complete=count == len(bars))
