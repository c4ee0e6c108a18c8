"""The constraints of a job, as an ordered list of named rules. An offer is feasible when every rule holds.

The list is shared by matching (does it hold?), by ``explain`` (which rules fail?) and by the provider, which checks
again when an award arrives. One rule, one function, one name that users see.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from market.records import Offer, PaymentTerms, Requirements


class Limits(Struct, frozen=True, kw_only=True):
    """What a requester keeps to itself and never gossips: its price cap, its friends and foes, its escrow.

    ``max_price`` is in nanotokens per GPU-second; ``max_rtt_us`` in microseconds, 0 for any; ``allow`` empty means
    everybody.
    """

    max_price: int
    chain_id: int
    escrow: bytes
    max_rtt_us: int = 0
    allow: tuple[bytes, ...] = ()
    deny: tuple[bytes, ...] = ()


class Candidate(Struct, frozen=True, kw_only=True):
    """An offer with what we know about it that is not in it. ``rtt_us`` 0: not measured, which fits no limit."""

    offer: Offer
    free_slots: int
    reputation: int = 1000
    rtt_us: int = 0


Rule = Callable[[Candidate, Requirements, Limits], bool]

RULES: tuple[tuple[str, Rule], ...] = (
    (
        "settlement",
        lambda c, r, m: c.offer.settlement.chain_id == m.chain_id and c.offer.settlement.escrow == m.escrow,
    ),
    ("terms", lambda c, r, m: is_bearable(c.offer.terms)),
    ("simulated", lambda c, r, m: r.allow_simulated or not c.offer.simulated),
    ("gpu", lambda c, r, m: not r.gpus or any(same_model(c.offer.gpu, wanted) for wanted in r.gpus)),
    (
        "vram",
        lambda c, r, m: c.offer.vram_mib >= r.vram_mib and c.offer.vram_mib <= (r.vram_max_mib or 2**40),
    ),
    ("slots", lambda c, r, m: c.free_slots >= r.slots),
    ("cpu", lambda c, r, m: c.offer.cpu_milli >= r.cpu_milli),
    ("memory", lambda c, r, m: c.offer.memory_mib >= r.memory_mib),
    ("disk", lambda c, r, m: c.offer.disk_mib >= r.disk_mib),
    ("price", lambda c, r, m: c.offer.price <= m.max_price),
    ("region", lambda c, r, m: not r.regions or any(within_region(c.offer.region, region) for region in r.regions)),
    ("jurisdiction", lambda c, r, m: in_jurisdictions(c.offer.jurisdiction, r.jurisdictions)),
    ("runtime", lambda c, r, m: not r.runtime or r.runtime in c.offer.runtimes),
    ("cuda", lambda c, r, m: c.offer.cuda_milli >= r.cuda_milli),
    ("driver", lambda c, r, m: _driver_suffices(c.offer.driver, r.driver)),
    ("interruption", lambda c, r, m: notice_of(c.offer) >= notice_wanted(r)),
    ("reputation", lambda c, r, m: c.reputation >= r.min_reputation),
    ("rtt", lambda c, r, m: not m.max_rtt_us or 0 < c.rtt_us <= m.max_rtt_us),
    ("allow", lambda c, r, m: not m.allow or c.offer.provider in m.allow),
    ("deny", lambda c, r, m: c.offer.provider not in m.deny),
)


def failures(candidate: Candidate, requirements: Requirements, limits: Limits) -> list[str]:
    """Names of the rules that fail, in the order of :data:`RULES`; empty when feasible."""
    return [name for name, holds in RULES if not holds(candidate, requirements, limits)]


def is_feasible(candidate: Candidate, requirements: Requirements, limits: Limits) -> bool:
    """Whether every rule holds. Stops at the first that does not."""
    return all(holds(candidate, requirements, limits) for _, holds in RULES)


FOREVER_MS = 2**31 - 1
"""The notice of an owner who does not take the machine back at all: longer than any that can be asked for."""


def notice_of(offer: Offer) -> int:
    """How long before losing the machine a job is told, in milliseconds."""
    return min(offer.notice_ms, FOREVER_MS) if offer.interruptible else FOREVER_MS


def notice_wanted(requirements: Requirements) -> int:
    """The shortest notice a job accepts, in milliseconds."""
    return requirements.min_notice_ms if requirements.interruptible else FOREVER_MS


@lru_cache(maxsize=1024)
def driver_number(version: str) -> int:
    """A driver version as a number that grows with it: ``"535.104.05"`` is 535_104_005; what is no version is 0."""
    parts = version.split(".")[:3]
    if not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        return 0
    major, minor, patch = (min(int(part), 999) for part in [*parts, "0", "0"][:3])
    return (major * 1000 + minor) * 1000 + patch


def _driver_suffices(offered: str, wanted: str) -> bool:
    return driver_number(offered) >= driver_number(wanted)


EU = frozenset(
    {"at", "be", "bg", "cy", "cz", "de", "dk", "ee", "es", "fi", "fr", "gr", "hr", "hu", "ie", "it", "lt", "lu", "lv"}
    | {"mt", "nl", "pl", "pt", "ro", "se", "si", "sk"}
)
GROUPS = {"eu": EU, "eea": EU | {"is", "li", "no"}}
"""Jurisdictions that can be asked for by one word: members of the European Union and of the European Economic Area."""


def in_jurisdictions(country: str, wanted: tuple[str, ...]) -> bool:
    """Whether a country is one of those wanted; ``wanted`` may name groups (:data:`GROUPS`); empty means any."""
    return not wanted or any(country == one or country in GROUPS.get(one, ()) for one in wanted)


MAX_UNPAID_MS = 10 * 60_000
MAX_WAIT_MS = 3_600_000
"""A requester's money must not lie idle for longer than this because a provider does not start or does not end."""


def is_bearable(terms: PaymentTerms) -> bool:
    """Whether an offer's rhythm is one to trade on: what may be lost is little, and no stage lasts a day."""
    longest = max(terms.fund_within_ms, terms.start_within_ms, terms.final_within_ms)
    return terms.tick_ms + terms.grace_ms <= MAX_UNPAID_MS and longest <= MAX_WAIT_MS


_VENDOR = frozenset({"nvidia", "geforce", "tesla", "quadro"})
_VARIANT = re.compile(r"\d+gb|hbm\d*e?|sxm\d*|pcie|nvl|gpu|ada|generation")
"""Words a driver adds to a model that do not make it another one: memory, socket. "Ti" or "Laptop" do."""


_WORKSTATION = re.compile(r"a\d{4}")


def same_model(offered: str, wanted: str) -> bool:
    """``NVIDIA H100 80GB HBM3`` is an ``H100`` and ``rtx4090`` a ``GeForce RTX 4090``, but no ``RTX 4090 Laptop``."""
    return asked_as(wanted) in names_of(offered)


@lru_cache(maxsize=8192)
def names_of(offered: str) -> frozenset[str]:
    """All that an offered model may be asked for as, each as :func:`asked_as` writes it."""
    words = _words(offered)
    names = ["".join(words)]
    # From the end: strangers choose the words, and what follows must be looked at once, not once for each beginning.
    for count in range(len(words) - 1, 0, -1):
        if not _VARIANT.fullmatch(words[count]):
            break
        names.append("".join(words[:count]))
    return frozenset(names)


@lru_cache(maxsize=8192)
def asked_as(wanted: str) -> str:
    """A model's name without what differs between spellings of it."""
    return "".join(_words(wanted))


def _words(model: str) -> list[str]:
    words = [word for word in re.split(r"[^a-z0-9]+", model.lower()) if word and word not in _VENDOR]
    # The driver's "RTX A6000" is what everybody calls an A6000.
    return words[1:] if words[:1] == ["rtx"] and _WORKSTATION.fullmatch("".join(words[1:2])) else words


def within_region(region: str, wanted: str) -> bool:
    """``eu-west`` lies in ``eu``: regions are words joined by dashes, from large to small."""
    return region == wanted or region.startswith(wanted + "-")
