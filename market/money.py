"""Money and prices: integers only, and the one place where an amount is rounded.

*Unit*: the smallest part of the settlement token (six decimals, so 1 token = 1,000,000 units).
*Price*: nanotokens per GPU-second. A nanotoken is 1/1000 unit; the finer step keeps 0.01 token per hour
expressible. A *GPU-second* is one slot held for one second (see the glossary in ARCHITECTURE.md).

Both sides of a lease compute amounts with :func:`amount_due`; nothing else multiplies a price.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import floor

from market.errors import InvalidRequest

UNITS_PER_TOKEN = 1_000_000
NANO_PER_TOKEN = 1_000_000_000
MAX_AMOUNT = 2**96 - 1
"""Largest amount the escrow can hold in one lane (uint96)."""
MAX_PRICE = 10**15
"""Largest price accepted anywhere: a million tokens per GPU-second. Anything above is a mistake or an attack."""

_LONGEST_NUMBER = 64
_PLAIN = "write it with digits and a point, as in 2.5"

NANO_MS_PER_UNIT = NANO_PER_TOKEN // UNITS_PER_TOKEN * 1000


def amount_due(price: int, gpu_ms: int) -> int:
    """Units owed for ``gpu_ms`` GPU-milliseconds at ``price`` nanotokens per GPU-second, rounded up once.

    Apply it to the *cumulative* usage of a lease: rounding each tick by itself would overcharge.
    """
    return -(-price * gpu_ms // NANO_MS_PER_UNIT)


def affordable_ms(price: int, amount: int) -> int:
    """The most GPU-milliseconds whose :func:`amount_due` does not exceed ``amount`` units."""
    if price == 0:
        return 2**63 - 1
    return amount * NANO_MS_PER_UNIT // price


def parse_tokens(text: str) -> int:
    """Read a decimal amount of tokens, such as ``"4.25"``, as units.

    Raises:
        InvalidRequest: not a plain non-negative decimal, or finer than one unit.
    """
    scaled = _exact(text, "amount") * UNITS_PER_TOKEN
    if scaled.denominator != 1:
        raise InvalidRequest(
            code="amount_too_fine",
            message=f"'{text}' has more than six decimals",
            fix="round the amount to six decimals",
        )
    if scaled > MAX_AMOUNT:
        raise InvalidRequest(code="amount_too_large", message=f"'{text[:80]}' is more than the escrow can hold")
    return int(scaled)


def parse_hourly_price(text: str) -> int:
    """Read a price such as ``"0.35/h"`` as nanotokens per GPU-second, rounded down.

    One reading for both sides: a cap of ``0.35/h`` meets an ask of ``0.35/h``, and nobody pays more than was written.

    Args:
        text: tokens per GPU-hour, with the unit ``/h`` (or ``/gpu-h``) spelled out.

    Raises:
        InvalidRequest: unit missing, not a number, negative, or above :data:`MAX_PRICE`.
    """
    amount, slash, unit = text.strip().partition("/")
    if not slash or unit not in ("h", "gpu-h"):
        raise InvalidRequest(
            code="price_unit",
            message=f"'{text}' is not a price per hour",
            fix="write it as for example 0.35/h",
        )
    price = floor(_exact(amount, "price") * NANO_PER_TOKEN / 3600)
    if price > MAX_PRICE:
        raise InvalidRequest(code="price_too_large", message=f"'{text}' is above the highest price this market knows")
    return price


def format_tokens(units: int) -> str:
    """Units as a decimal string of tokens with six decimals: ``1500000`` → ``"1.500000"``."""
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), UNITS_PER_TOKEN)
    return f"{sign}{whole}.{part:06d}"


def format_hourly(price: int) -> str:
    """A price as tokens per GPU-hour with four decimals, for people: ``97223`` → ``"0.3500/h"``."""
    return f"{Decimal(price) * 3600 / NANO_PER_TOKEN:.4f}/h"


def _exact(text: str, what: str) -> Fraction:
    """A fraction, because decimal arithmetic rounds after 28 digits without a word."""
    try:
        value = Decimal(text.strip()[: _LONGEST_NUMBER + 1])
    except InvalidOperation:
        raise InvalidRequest(code=f"not_an_{what}", message=f"'{text[:80]}' is not a number", fix=_PLAIN) from None
    if not value.is_finite() or value < 0:
        raise InvalidRequest(code=f"bad_{what}", message=f"'{text[:80]}' is not zero or more", fix=_PLAIN)
    # "1e999999999" is ten characters and a number that fills the memory.
    exponent = value.as_tuple().exponent
    if len(text.strip()) > _LONGEST_NUMBER or not isinstance(exponent, int) or abs(exponent) > _LONGEST_NUMBER:
        raise InvalidRequest(code=f"bad_{what}", message=f"'{text[:80]}' is not a plain number")
    return Fraction(value)
