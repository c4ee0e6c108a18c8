"""What can be asked of an offer: each field's name, how it is read from an offer and what its words mean. Pure.

The meanings are those of matching (:mod:`market.feasibility`): what a query finds is what a job with the same wish
would be matched with. What an offer does not say (``None`` here) satisfies no comparison except ``!=``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from market.errors import InvalidRequest
from market.feasibility import FOREVER_MS, driver_number, in_jurisdictions, same_model, within_region
from market.money import parse_hourly_price
from node.control import OfferView
from node.quantities import parse_cpu_milli, parse_duration_ms, parse_size_mib

_GB = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?GB", re.IGNORECASE | re.ASCII)
_COUNT = re.compile(r"\d{1,7}", re.ASCII)
_VERSION = re.compile(r"\d{1,4}(?:\.\d{1,4}){0,2}", re.ASCII)
_CUDA = re.compile(r"(\d{1,3})(?:\.(\d))?", re.ASCII)
_SHARE = re.compile(r"([01](?:\.\d{1,3})?)|(\d{1,3}(?:\.\d)?)%", re.ASCII)
_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?([MG])(?:bit(?:/s)?|bps)", re.IGNORECASE | re.ASCII)


class Span(NamedTuple):
    """What one word means on a scale: anything from ``low`` to ``high``. Mostly both are the same number."""

    low: int
    high: int


class Field(NamedTuple):
    """One field.

    Attributes:
        read: the offer's value: a whole number for fields with a ``span``, else what ``same`` compares.
        example: a value as users write it.
        span: a word as a part of the scale; None for words that have no order.
        same: whether the offer's value is the wanted word, for fields without a ``span``.
        is_ordered: whether ``<`` and its like make sense.
    """

    read: Callable[[OfferView], Any]
    example: str
    span: Callable[[str], Span] | None = None
    same: Callable[[Any, str], bool] = lambda value, word: bool(value == word)
    is_ordered: bool = True


def _exact(parse: Callable[[str], int]) -> Callable[[str], Span]:
    def span(word: str) -> Span:
        value = parse(word)
        return Span(value, value)

    return span


def _vram(word: str) -> Span:
    """A card sold as "24GB" reports 24,564 MiB and one sold as "80GB" 81,559: a GB is 10⁹ bytes at least and 2³⁰ at
    most. A size in GiB or MiB is exact."""
    if found := _GB.fullmatch(word):
        return Span(int(Decimal(found[1]) * 10**9) // 2**20, -(-int(Decimal(found[1]) * 1024 * 1000) // 1000))
    return _exact(parse_size_mib)(word)


def _driver(word: str) -> Span:
    """``535`` means every 535.x."""
    if not _VERSION.fullmatch(word):
        raise _wrong(word, "a driver version", "for example 535 or 535.104")
    return Span(driver_number(word), driver_number(".".join([*word.split("."), "999", "999"][:3])))


def _cuda(word: str) -> Span:
    """``12`` means every 12.x."""
    found = _CUDA.fullmatch(word)
    if not found:
        raise _wrong(word, "a CUDA version", "for example 12.4")
    low = int(found[1]) * 1000 + int(found[2] or 0) * 100
    return Span(low, low if found[2] else low + 999)


def _count(word: str) -> Span:
    if not _COUNT.fullmatch(word):
        raise _wrong(word, "a whole number", "for example 2")
    return Span(int(word), int(word))


def _share(word: str) -> Span:
    found = _SHARE.fullmatch(word)
    permille = int(Decimal(found[1]) * 1000 if found[1] else Decimal(found[2]) * 10) if found else 1001
    if permille > 1000:
        raise _wrong(word, "a share", "from 0 to 1 or in percent, as in 0.95 or 95%")
    return Span(permille, permille)


def _rate(word: str) -> Span:
    found = _RATE.fullmatch(word)
    if not found:
        raise _wrong(word, "a data rate", "a number with a unit, as in 100Mbit or 1Gbit")
    mbps = int(Decimal(found[1]) * (1000 if found[2].upper() == "G" else 1))
    return Span(mbps, mbps)


def _truth(word: str) -> Span:
    if word.lower() not in ("true", "yes", "false", "no"):
        raise _wrong(word, "true or false", "true or false")
    value = int(word.lower() in ("true", "yes"))
    return Span(value, value)


def _wrong(word: str, what: str, fix: str) -> InvalidRequest:
    return InvalidRequest(f"'{word[:40]}' is not {what}", code="bad_query", fix=fix)


def _notice(offer: OfferView) -> int:
    return min(offer["notice_ms"], FOREVER_MS) if offer["interruptible"] else FOREVER_MS


def _rtt_us(offer: OfferView) -> int | None:
    rtt_ms = offer["rtt_ms"]
    return None if rtt_ms is None else round(rtt_ms * 1000)


def _micros(word: str) -> Span:
    return _exact(lambda text: parse_duration_ms(text) * 1000)(word)


FIELDS: dict[str, Field] = {
    "gpu": Field(lambda o: o["gpu"], "RTX4090", same=same_model),
    "vram": Field(lambda o: o["vram_mib"], "24GB", _vram),
    "cpu": Field(lambda o: o["cpu_milli"], "8", _exact(parse_cpu_milli)),
    "memory": Field(lambda o: o["memory_mib"], "32GB", _exact(parse_size_mib)),
    "disk": Field(lambda o: o["disk_mib"], "100GB", _exact(parse_size_mib)),
    "price": Field(lambda o: o["price"]["nano_per_gpu_second"], "0.40/h", _exact(parse_hourly_price)),
    "region": Field(lambda o: o["region"] or None, "eu", same=within_region),
    "jurisdiction": Field(
        lambda o: o["jurisdiction"] or None, "eu", same=lambda country, word: in_jurisdictions(country, (word.lower(),))
    ),
    "free": Field(lambda o: o["free_slots"], "1", _count),
    "slots": Field(lambda o: o["total_slots"], "4", _count),
    "runtime": Field(lambda o: o["runtimes"], "runsc", same=lambda runtimes, word: word in runtimes),
    "isolation": Field(lambda o: o["isolation"] or None, "vm"),
    "cuda": Field(lambda o: o["cuda_milli"] or None, "12.4", _cuda),
    "driver": Field(lambda o: driver_number(o["driver"]) or None, "535", _driver),
    "notice": Field(_notice, "10m", _exact(parse_duration_ms)),
    "interruptible": Field(lambda o: int(o["interruptible"]), "false", _truth, is_ordered=False),
    "reputation": Field(lambda o: o["reputation"], "0.95", _share),
    "rtt": Field(_rtt_us, "50ms", _micros),
    "speed": Field(lambda o: o["speed"] or None, "1000", _count),
    "net": Field(lambda o: o["net_mbps"] or None, "100Mbit", _rate),
    "simulated": Field(lambda o: int(o["simulated"]), "false", _truth, is_ordered=False),
    "provider": Field(lambda o: o["provider"], "3f9a", same=lambda key, word: key.startswith(word.lower())),
    "machine": Field(lambda o: o["machine"], "m0"),
}
"""``notice``: a machine that is never taken back gives more of it than anybody can ask for."""

OTHER_NAMES = {
    "gpu_name": "gpu", "model": "gpu", "gpu_ram": "vram", "gpu_memory": "vram", "ram": "memory", "mem": "memory",
    "cpu_ram": "memory", "cpus": "cpu", "cores": "cpu", "storage": "disk", "cost": "price", "dph": "price",
    "dph_total": "price", "country": "jurisdiction", "location": "region", "geolocation": "region", "num_gpus": "free",
    "gpus": "free", "available": "free", "reliability": "reputation", "latency": "rtt", "ping": "rtt",
    "bandwidth": "net", "inet_down": "net", "cuda_vers": "cuda", "driver_version": "driver", "node": "provider",
    "sim": "simulated", "real": "simulated",
}  # fmt: skip
"""Words of other tools, for the hint that an unknown field gets."""
