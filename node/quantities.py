"""Durations, sizes and shares as people write them, read into integers. Units are required: a bare number is refused.

Shared by the job file and the node's config, so that ``32GB`` means the same in both.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from market.errors import InvalidRequest
from market.money import NANO_PER_TOKEN

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", re.ASCII)
_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([KMGT]i?B)", re.IGNORECASE | re.ASCII)
_BYTES = {
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SHORT = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?(us|µs|ms|s)", re.ASCII)
_MICROSECONDS = {"us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000}
_RATE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([MmGg])(?:bit(?:/s)?|bps)", re.ASCII)
"""Bits only: a megabyte per second is eight times as much, and both are written with a B."""
_ENERGY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)/kWh", re.IGNORECASE | re.ASCII)
_SHARE = re.compile(r"\d{1,6}(?:\.\d{1,3})?", re.ASCII)


def parse_duration_ms(text: str) -> int:
    """``"10s"``, ``"1.5h"`` → milliseconds.

    Raises:
        InvalidRequest: no unit, or not a number.
    """
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise InvalidRequest(
            f"'{text}' is not a duration", code="bad_duration", fix="a number with a unit: s, m, h or d, as in 30m"
        )
    return int(Decimal(found[1]) * _MS[found[2]])


def parse_duration_us(text: str) -> int:
    """``"40ms"``, ``"0.5ms"``, ``"800us"`` → microseconds, for round trips.

    Raises:
        InvalidRequest: no unit, or not a number.
    """
    found = _SHORT.fullmatch(text.strip())
    if not found:
        raise InvalidRequest(
            f"'{text}' is not a round trip", code="bad_duration", fix="a number with a unit: ms or us, as in 40ms"
        )
    return int(Decimal(found[1]) * _MICROSECONDS[found[2]])


def parse_size_bytes(text: str) -> int:
    """``"32GB"`` (10⁹) or ``"32GiB"`` (2³⁰) → bytes.

    Raises:
        InvalidRequest: no unit, or not a number.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise InvalidRequest(
            f"'{text}' is not a size", code="bad_size", fix="a number with a unit: MB, GB or TB, as in 32GB"
        )
    return int(Decimal(found[1]) * _BYTES[found[2].lower()])


def parse_size_mib(text: str) -> int:
    """A size in MiB, rounded up: asked for less than a MiB is asked for one.

    Raises:
        InvalidRequest: as :func:`parse_size_bytes`.
    """
    return -(-parse_size_bytes(text) // 2**20)


def parse_rate_mbps(text: str) -> int:
    """``"1Gbit"``, ``"400Mbit/s"`` → megabits per second, rounded down: a claim must not be more than the line.

    Raises:
        InvalidRequest: no unit, or not a number.
    """
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise InvalidRequest(
            f"'{text}' is not the speed of a line", code="bad_rate", fix="bits per second, as in 400Mbit or 1Gbit"
        )
    return int(Decimal(found[1]) * (1000 if found[2].upper() == "G" else 1))


def parse_energy_price(text: str) -> int:
    """``"0.30/kWh"`` → nanotokens per kilowatt-hour.

    Raises:
        InvalidRequest: no unit, or not a number.
    """
    found = _ENERGY.fullmatch(text.strip())
    if not found:
        raise InvalidRequest(
            f"'{text}' is not a price of energy", code="bad_energy_price", fix="tokens per kilowatt-hour: 0.30/kWh"
        )
    return int(Decimal(found[1]) * NANO_PER_TOKEN)


def parse_cpu_milli(text: str) -> int:
    """``"8"`` or ``"0.5"`` cores → thousandths of a core, above zero.

    Raises:
        InvalidRequest: not a number, or zero.
    """
    if not _SHARE.fullmatch(text.strip()) or Decimal(text.strip()) == 0:
        raise InvalidRequest(f"'{text}' is not a number of CPU cores", code="bad_cpu", fix="for example 8 or 0.5")
    return int((Decimal(text.strip()) * 1000).to_integral_value(rounding=ROUND_CEILING))


def format_duration(ms: int) -> str:
    """Milliseconds for people: ``"0.4 s"``, ``"4 m 12 s"``, ``"2 h 5 m"``."""
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(ms // 1000, 60)
    if minutes < 60:
        return f"{minutes} m {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def format_gas(wei: int) -> str:
    """Gas money for people, in the chain's own coin: enough decimals to see that there is some."""
    coin = Decimal(wei) / 10**18
    digits = f"{coin:.6f}" if coin >= Decimal("0.000001") or not wei else "less than 0.000001"
    return f"{digits} of the chain's coin (ether)"


def format_memory(mib: int) -> str:
    """Whole MiB as people write them; :func:`parse_size_mib` reads it back as the same: ``"4GB"``, ``"24GiB"``."""
    if mib % 1024 == 0:
        return f"{mib // 1024}GiB"
    if mib % 64 == 0:
        return f"{mib}MiB"
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        for decimals in range(4):
            step = 10**decimals
            text = f"{Decimal(mib * 2**20 * step // size) / step:f}{unit}"
            if mib * 2**20 >= size and parse_size_mib(text) == mib:
                return text
    return f"{mib}MiB"


def format_size(size: int) -> str:
    """Bytes for people, in decimal units: ``"2.1 MB"``."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 1000 or unit == "TB":
            break
    return f"{value:.1f} {unit}"
