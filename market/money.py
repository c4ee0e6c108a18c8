"""Money and prices: integers only, and the one place where an amount is rounded.

*Unit*: the smallest part of the settlement token (six decimals, so 1 token = 1,000,000 units).
*Price*: nanotokens per GPU-second. A nanotoken is 1/1000 unit; the finer step keeps 0.01 token per hour
expressible. A *GPU-second* is one slot held for one second (see the glossary in ARCHITECTURE.md).

Both sides of a lease compute amounts with :func:`amount_due`; nothing else multiplies a price.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation

from market.errors import InvalidRequest

UNITS_PER_TOKEN = 1_000_000
NANO_PER_TOKEN = 1_000_000_000
MAX_AMOUNT = 2**96 - 1
"""Largest amount the escrow can hold in one lane (uint96)."""
MAX_PRICE = 10**15
"""Largest price accepted anywhere: a million tokens per GPU-second. Anything above is a mistake or an attack."""

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
    scaled = _decimal(text, "amount") * UNITS_PER_TOKEN
    if scaled != int(scaled):
        raise InvalidRequest(
            code="amount_too_fine",
            message=f"'{text}' has more than six decimals",
            fix="round the amount to six decimals",
        )
    if scaled > MAX_AMOUNT:
        raise InvalidRequest(code="amount_too_large", message=f"'{text}' is more than the escrow can hold")
    return int(scaled)


def parse_hourly_price(text: str, *, round_up: bool) -> int:
    """Read a price such as ``"0.35/h"`` as nanotokens per GPU-second.

    Args:
        text: tokens per GPU-hour, with the unit ``/h`` (or ``/gpu-h``) spelled out.
        round_up: True for a price that is asked, False for a cap that must never be exceeded.

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
    per_second = _decimal(amount, "price") * NANO_PER_TOKEN / 3600
    price = int(per_second.to_integral_value(rounding=ROUND_CEILING if round_up else ROUND_FLOOR))
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


def _decimal(text: str, what: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise InvalidRequest(code=f"not_an_{what}", message=f"'{text}' is not a number") from None
    if not value.is_finite() or value < 0:
        raise InvalidRequest(code=f"bad_{what}", message=f"'{text}' is not a non-negative number")
    return value
