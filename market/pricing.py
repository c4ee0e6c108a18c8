"""What a provider may ask: what a card costs its owner, what the market asks for its like, and a slow surge.

Pure. Prices are nanotokens per GPU-second, as on a tag; shares are permille. Nothing here is binding: a tag is what its
owner says, and the price of a lease is the one of its award.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from market.feasibility import same_model
from market.money import MAX_PRICE, NANO_PER_TOKEN

JOULES_PER_KWH = 3_600_000
TARGET_USE = 800
"""The share of slots in use, permille, that a surge steers towards."""
MAX_STEP = 50
"""The most a price moves in one step, permille of itself."""
CAP_FLOORS = 4
"""Without a cap of its own a surge ends at so many times the floor."""
_SHOWN = NANO_PER_TOKEN // 10_000
"""The last decimal of a price as people see it, nanotokens per hour (:func:`market.money.format_hourly`)."""
_MEMORY = 8
"""How many steps back use is remembered: each step counts for an eighth."""


class Quartiles(Struct, frozen=True, kw_only=True):
    """What providers ask for one kind of machine. ``providers`` is how many of them were counted, above zero."""

    low: int
    median: int
    high: int
    providers: int


def floor_price(watts: int, kwh_price: int, wear: int = 0) -> int:
    """What one slot costs its owner while it works: below this, every job is a loss.

    ``floor = watts × kwh_price ÷ 3,600,000 + wear``: a watt is a joule per second, and a kilowatt-hour has 3,600,000
    joules. Rounded down, as every price is when it is read: what is shown can be typed in and is the same.

    Args:
        watts: drawn by the card and its share of the machine at work.
        kwh_price: nanotokens for a kilowatt-hour.
        wear: nanotokens per second for what is used up: the card's price over the seconds it will serve, rent, cooling.
    """
    return min(watts * kwh_price // JOULES_PER_KWH + wear, MAX_PRICE)


def same_class(one: str, other: str) -> bool:
    """Whether two offers' GPU models are one kind of machine, however much each spells out."""
    return one == other or same_model(one, other) or same_model(other, one)


def asking_prices(tags: Iterable[tuple[bytes | str, int]]) -> list[int]:
    """What each provider asks, in ascending order.

    Args:
        tags: provider and price of each offer. A provider counts once, with its cheapest: who poses as many machines
            must not move what others take for the market.
    """
    cheapest: dict[bytes | str, int] = {}
    for provider, price in tags:
        cheapest[provider] = min(price, cheapest.get(provider, price))
    return sorted(cheapest.values())


def quartiles(prices: list[int]) -> Quartiles | None:
    """The quartiles of :func:`asking_prices`, None when nobody asks.

    Each is a price somebody really asks: the one at a quarter, a half and three quarters of the way, the lower where
    that falls between two.
    """
    if not prices:
        return None
    low, median, high = (prices[(len(prices) - 1) * quarter // 4] for quarter in (1, 2, 3))
    return Quartiles(low=low, median=median, high=high, providers=len(prices))


def suggest(floor: int, market: Quartiles | None) -> int:
    """A price to begin with: the market's median, but never below the floor. Without a market, twice the floor."""
    if market is None:
        return min(2 * floor, MAX_PRICE)
    return max(floor, market.median)


def round_up(price: int) -> int:
    """The next price that four decimals of tokens per hour can write: typed in as it is shown, it is not below."""
    per_hour = -(-price * 3600 // _SHOWN) * _SHOWN
    return min(per_hour // 3600, MAX_PRICE)


def smoothed_use(used: int, sample: int) -> int:
    """Use over the last minutes, permille: the old value, moved an eighth of the way to what was just seen.

    A machine of one slot is either free or full; without a memory its price would only jump about.
    """
    return used + (sample - used) // _MEMORY


def surge(price: int, used: int, *, floor: int, cap: int) -> int:
    """The price one step later: up when more than :data:`TARGET_USE` is in use, down when less.

    The step grows with the distance, to 5 % at most: up at full use, down at none. Always within ``floor`` and ``cap``;
    a price that is outside them (its owner has just moved them) is brought in at once.

    Args:
        price: now.
        used: share of the slots in use, permille.
        floor, cap: the owner's limits, ``floor <= cap``.
    """
    over = used - TARGET_USE
    room = 1000 - TARGET_USE if over > 0 else TARGET_USE
    step = price * MAX_STEP * abs(over) // (1000 * room)
    return min(max(price + step if over > 0 else price - step, floor), cap)
