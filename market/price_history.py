"""What a GPU model cost over the last two weeks, with the signed offers that prove it. Bounded; never asks the clock.

Every ten minutes a *bar* is taken of each model: how many offers with free slots, and of these the cheapest, the median
and the dearest, as they were signed. After a day six bars become one of an hour, after two weeks they are dropped.

Whoever gets a bar checks by :func:`check_bar` that such offers were really made at that time. The counts, and which
offer was the median, are one node's word: ask several. The ends are cheap to fake, for anybody may post one absurd
offer; the median is the figure to go by.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from market import codec
from market.errors import PeerFault
from market.feasibility import same_model
from market.records import Millis, Offer, Price, Word
from market.signing import Verified, verify
from market.speeds import SPEEDS, listed_name

STEP_MS, HOUR_MS, DAY_MS = 600_000, 3_600_000, 86_400_000
FINE_MS, KEPT_MS = DAY_MS, 14 * DAY_MS
"""How long bars of ten minutes are kept, and how long any."""
MAX_MODELS = 32
"""Models in one bar's time. Names cost nothing: those that are on the list of speeds come first, then the crowded."""
MAX_BYTES = 8 * 1024 * 1024
MAX_SPAN_MS = DAY_MS

_Envelope = Annotated[bytes, Meta(max_length=codec.MAX_RECORD)]
_Named = tuple[str, bool]


class Bar(Struct, frozen=True, kw_only=True):
    """One model's market at a moment, or the essence of several such.

    Attributes:
        gpu: the model (:func:`model_of`).
        simulated: whether these are simulated cards; they never share a bar with real ones.
        closed_at: UTC milliseconds when it was taken.
        span_ms: how far back it reaches.
        offers, providers, slots: offers with free slots, who made them, and the free slots.
        lowest, median, dearest: prices, nanotokens per GPU-second.
        low, mid, high: the signed offers of these prices; empty: the same as the one before.
    """

    gpu: Word
    simulated: bool = False
    closed_at: Millis
    span_ms: Annotated[int, Meta(ge=STEP_MS, le=MAX_SPAN_MS)] = STEP_MS
    offers: Annotated[int, Meta(ge=1, le=10**7)]
    providers: Annotated[int, Meta(ge=1, le=10**7)]
    slots: Annotated[int, Meta(ge=1, le=2**40)]
    lowest: Price
    median: Price
    dearest: Price
    low: _Envelope
    mid: _Envelope = b""
    high: _Envelope = b""

    def evidence(self) -> tuple[bytes, bytes, bytes]:
        """The three signed offers: cheapest, median, dearest."""
        mid = self.mid or self.low
        return self.low, mid, self.high or mid

    @property
    def size(self) -> int:
        """Bytes of evidence."""
        return len(self.low) + len(self.mid) + len(self.high)


class PriceHistory:
    """Bars by model, oldest first."""

    def __init__(self) -> None:
        self._bars: dict[_Named, list[Bar]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._bars.values()))

    def close(self, offers: Iterable[Verified[Offer]], now: int) -> bool:
        """Take this interval's bars from the live offers, unless it has them already. Returns whether it did."""
        self._trim(now)
        if any(bars[-1].closed_at // STEP_MS >= now // STEP_MS for bars in self._bars.values()):
            return False
        for bar in take_bars(offers, now):
            self._bars.setdefault((bar.gpu, bar.simulated), []).append(bar)
        self._trim(now)
        return True

    def bars(self, gpu: str = "", *, since: int = 0, step_ms: int = 0) -> list[Bar]:
        """Bars that were closed after ``since``, the newest first, by model where they were closed together.

        Args:
            gpu: only this model, spelled as users do; empty for all.
            since: UTC milliseconds.
            step_ms: join bars to one for each such interval; 0 leaves them as they are kept.
        """
        found: list[Bar] = []
        for (model, _), bars in self._bars.items():
            if not gpu or same_model(model, gpu) or same_model(gpu, model):
                recent = [bar for bar in bars if bar.closed_at > since]
                found += joined(recent, step_ms) if step_ms > STEP_MS else recent
        return sorted(found, key=lambda bar: (-bar.closed_at, bar.gpu, bar.simulated))

    def dump(self) -> bytes:
        """All of it, for a file of this node's own."""
        return msgspec.msgpack.encode([bar for bars in self._bars.values() for bar in bars])

    def restore(self, raw: bytes, now: int) -> bool:
        """Take back what :meth:`dump` wrote. Returns False, and changes nothing, when it is not that."""
        try:
            bars = msgspec.msgpack.decode(raw, type=list[Bar])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        self._bars = {}
        for bar in sorted(bars, key=lambda bar: bar.closed_at):
            self._bars.setdefault((bar.gpu, bar.simulated), []).append(bar)
        self._trim(now)
        return True

    def _trim(self, now: int) -> None:
        for name, bars in list(self._bars.items()):
            # What is dated ahead was written while this machine's clock was wrong, and would keep new bars out.
            kept = [bar for bar in bars if now - KEPT_MS < bar.closed_at <= now + STEP_MS]
            whole_hours = (now - FINE_MS) // HOUR_MS * HOUR_MS
            old = [bar for bar in kept if bar.closed_at <= whole_hours]
            self._bars[name] = joined(old, HOUR_MS) + kept[len(old) :]
            if not kept:
                del self._bars[name]
        size = sum(bar.size for bars in self._bars.values() for bar in bars)
        while size > MAX_BYTES:
            name, bars = min(self._bars.items(), key=lambda item: item[1][0].closed_at)
            size -= bars.pop(0).size
            if not bars:
                del self._bars[name]


def take_bars(offers: Iterable[Verified[Offer]], now: int) -> list[Bar]:
    """One bar for each model that is on offer now with free slots, the best known and most crowded first."""
    by_model: dict[_Named, list[Verified[Offer]]] = defaultdict(list)
    for offer in offers:
        record = offer.record
        if record.free_slots and not record.withdrawn and record.expires_at > now:
            by_model[model_of(record.gpu), record.simulated].append(offer)
    bars = [_bar(name, found, now) for name, found in by_model.items()]
    bars.sort(key=lambda bar: (bar.gpu not in SPEEDS, -bar.providers, bar.gpu, bar.simulated))
    return bars[:MAX_MODELS]


def joined(bars: Iterable[Bar], step_ms: int) -> list[Bar]:
    """One bar for each interval of ``step_ms``: the lowest and dearest of it, and the counts of its median bar. All
    bars are of one model, oldest first; so is the result."""
    groups: dict[int, list[Bar]] = defaultdict(list)
    for bar in bars:
        groups[(bar.closed_at - 1) // step_ms].append(bar)
    return [_join(group, step_ms) for group in groups.values()]


def model_of(gpu: str) -> str:
    """The name under which all spellings of a known card are one: ``NVIDIA H100 80GB HBM3`` is an ``H100``. A card
    that is on no list keeps the name it was given."""
    return listed_name(gpu) or gpu


def check_bar(bar: Bar, now: int, *, max_skew_ms: int) -> Bar:
    """Check a bar that somebody else took: its offers are signed, of this model, of these prices and of that time.

    Raises:
        PeerFault: something is wrong with it; ``code`` is that of the record's fault or ``bad_history``.
    """
    if bar.closed_at > now + max_skew_ms:
        raise PeerFault("a bar of the future", code="bad_history")
    offers = {raw: verify(raw, Offer).record for raw in set(bar.evidence())}
    for raw, price in zip(bar.evidence(), (bar.lowest, bar.median, bar.dearest), strict=True):
        if not _is_of(offers[raw], bar, max_skew_ms) or offers[raw].price != price:
            raise PeerFault("a bar whose offers do not show what it says", code="bad_history")
    if not bar.lowest <= bar.median <= bar.dearest or bar.providers > bar.offers or bar.offers > bar.slots:
        raise PeerFault("a bar whose figures contradict each other", code="bad_history")
    return bar


def _is_of(offer: Offer, bar: Bar, max_skew_ms: int) -> bool:
    return (
        model_of(offer.gpu) == bar.gpu
        and offer.simulated == bar.simulated
        and offer.free_slots > 0
        and not offer.withdrawn
        and offer.issued_at <= bar.closed_at + max_skew_ms
        and offer.expires_at > bar.closed_at - bar.span_ms
    )


def _bar(name: _Named, offers: list[Verified[Offer]], now: int) -> Bar:
    offers.sort(key=lambda offer: (offer.record.price, offer.id))
    low, mid, high = offers[0], offers[(len(offers) - 1) // 2], offers[-1]
    return Bar(
        gpu=name[0],
        simulated=name[1],
        closed_at=now,
        offers=len(offers),
        providers=len({offer.signer for offer in offers}),
        slots=sum(offer.record.free_slots for offer in offers),
        lowest=low.record.price,
        median=mid.record.price,
        dearest=high.record.price,
        low=low.raw,
        mid=b"" if mid is low else mid.raw,
        high=b"" if high is mid else high.raw,
    )


def _join(bars: list[Bar], step_ms: int) -> Bar:
    if len(bars) == 1 and bars[0].span_ms >= step_ms:
        return bars[0]
    lowest, dearest = min(bars, key=lambda bar: bar.lowest), max(bars, key=lambda bar: bar.dearest)
    middle = sorted(bars, key=lambda bar: bar.median)[(len(bars) - 1) // 2]
    low, mid, high = lowest.evidence()[0], middle.evidence()[1], dearest.evidence()[2]
    return msgspec.structs.replace(
        middle,
        closed_at=bars[-1].closed_at,
        span_ms=min(MAX_SPAN_MS, max(step_ms, *(bar.span_ms for bar in bars))),
        lowest=lowest.lowest,
        dearest=dearest.dearest,
        low=low,
        mid=b"" if mid == low else mid,
        high=b"" if high == mid else high,
    )
