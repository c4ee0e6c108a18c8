"""What a unit of gas may cost us: the first offer, the raised one, and the caps. Pure; all amounts are wei.

A fee-market transaction names the most it pays per gas and the part of it that is the block maker's tip. A node takes
a replacement only when both are raised by a tenth or, with some nodes, an eighth.
"""

from __future__ import annotations

from msgspec import Struct

GWEI = 10**9


class Fee(Struct, frozen=True):
    """``most`` per gas in all, ``tip`` of it to the block maker."""

    most: int
    tip: int


class GasMarket(Struct, frozen=True):
    """What the chain asks: the base fee of the newest block, and the usual tip."""

    base: int
    tip: int


class FeeCaps(Struct, frozen=True, kw_only=True):
    """The most a unit of gas may cost. ``urgent`` is for what loses money by waiting, such as redeeming in an exit;
    ``opening_tip`` bounds the tip that an endpoint may talk us into at first."""

    usual: int = 500 * GWEI
    urgent: int = 2_000 * GWEI
    opening_tip: int = 100 * GWEI

    def of(self, *, urgent: bool) -> int:
        return max(self.usual, self.urgent) if urgent else self.usual


def opening_fee(market: GasMarket, caps: FeeCaps, *, urgent: bool) -> Fee | None:
    """The first offer: room for the base fee to double. None while gas is dearer than the cap."""
    cap, tip = caps.of(urgent=urgent), min(market.tip, caps.opening_tip)
    return None if market.base + tip > cap else Fee(most=min(2 * market.base + tip, cap), tip=tip)


def raised_fee(fee: Fee, market: GasMarket, cap: int) -> Fee | None:
    """A fee that replaces ``fee`` at any node. None when the cap does not allow one, or when even the cap would not get
    it mined now: then raising only makes it dearer later."""
    tip = max(_replacing(fee.tip), min(market.tip, cap))
    most = min(max(_replacing(fee.most), 2 * market.base + tip), cap)
    tip = min(tip, most)
    if most < _replacing(fee.most) or tip < _replacing(fee.tip) or market.base > cap:
        return None
    return Fee(most, tip)


def _replacing(amount: int) -> int:
    # An eighth and one, rounded up.
    return amount + -(-amount // 8) + 1
