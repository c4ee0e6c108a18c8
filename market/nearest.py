"""The smallest changes to a job that let an offer fit, each tried on the same book before it is proposed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from heapq import nsmallest
from operator import attrgetter

from msgspec import Struct
from msgspec.structs import replace

from market.ask import Ask
from market.compiler import OVERFLOW
from market.feasibility import RULES, is_feasible
from market.matching import candidate_of
from market.offer_book import OfferBook
from market.offer_row import SIMULATED, Query, Row, fits
from market.relaxed import Change, Value, relaxed, size

BIT = {name: 1 << number for number, (name, _) in enumerate(RULES)}
"""The rules as bits, in their order."""
_COMBINATIONS = 3
"""Sets of rules for which several changes at once are proposed."""
_SETS_TRIED, _OFFERS_TRIED = 16, 12
"""How many sets are looked at, and offers of each."""

KNOWN_RUNTIMES = frozenset({"runc", "runsc", "crun", "youki", "kata-runtime", "nvidia"})
"""Whoever asks for one of these means it."""
_SLIPS = 2

Faults = Mapping[int, Sequence[Row]]
"""The offers of a book by the rules they break."""
Way = tuple[tuple[str, Value], ...]
"""Fields and their new values."""


class Suggestion(Struct, frozen=True, kw_only=True):
    """Changes that, made together, let ``matches`` more offers fit."""

    changes: tuple[Change, ...]
    matches: int


def suggest(book: OfferBook, ask: Ask, now: int, groups: Faults) -> list[Suggestion]:
    """Single changes that help, the smallest first. Without any, sets of them for the offers that break fewest rules.

    Args:
        book: where each is tried.
        ask: what was wanted.
        now: UTC milliseconds.
        groups: the live offers by the rules they break.
    """
    single = [
        {rule: _WAYS[rule](groups[bit], book, ask)} for rule, bit in BIT.items() if bit in groups and rule in _WAYS
    ]
    found = [one for ways in single if (one := _try(ways, book, ask, now, groups))]
    if not found:
        found = _combinations(book, ask, now, groups)
    return sorted(found, key=lambda one: (size(one.changes, ask), -one.matches))


def _combinations(book: OfferBook, ask: Ask, now: int, groups: Faults) -> list[Suggestion]:
    """By the smallest sets of rules that offers break and that can be given up, those with the cheapest offer first."""
    ready = sum(BIT[rule] for rule in _WAYS)
    mendable = [faults for faults in groups if faults and not faults & ~ready]
    mendable.sort(key=lambda faults: (faults.bit_count(), min(row.price for row in groups[faults]), faults))
    found: list[Suggestion] = []
    fewest = 0
    for faults in mendable[:_SETS_TRIED]:
        if found and (len(found) == _COMBINATIONS or faults.bit_count() > fewest):
            break
        ways = _together(faults, groups[faults], book, ask)
        if ways and (one := _try(ways, book, ask, now, groups)):
            found.append(one)
            fewest = faults.bit_count()
    return found


def _try(ways: dict[str, Way], book: OfferBook, ask: Ask, now: int, groups: Faults) -> Suggestion | None:
    """Make the changes and look which offers fit that did not."""
    if not all(ways.values()):
        return None
    changes = _changes(ways)
    looser = relaxed(ask, changes)
    query = book.compile(looser, now)
    allowed = sum(BIT[rule] for rule in ways)
    matches = 0
    for faults, rows in groups.items():
        if faults and not faults & ~allowed:
            fitting = rows
            for holds in (_HOLDS[rule] for rule in ways if faults & BIT[rule]):
                fitting = [row for row in fitting if holds(row, query)]
            # The count is by the rules that were broken; that an offer fits in all is asked of the whole specification.
            if fitting and not fits(fitting[0], query):
                return None
            matches += sum(not row.flags & OVERFLOW or _fits_by_words(row, book, looser) for row in fitting)
    if not matches:
        return None
    if len(changes) == 1:
        changes = (replace(changes[0], matches=matches),)
    return Suggestion(changes=changes, matches=matches)


def _fits_by_words(row: Row, book: OfferBook, ask: Ask) -> bool:
    return is_feasible(candidate_of(book, book.offer_at(row.handle)), ask.requirements, ask.limits)


def _together(faults: int, rows: Sequence[Row], book: OfferBook, ask: Ask) -> dict[str, Way]:
    """What one of these offers needs, of the one that needs least; nothing where none can be helped."""
    rules = [rule for rule, bit in BIT.items() if faults & bit]
    cheapest = nsmallest(_OFFERS_TRIED, rows, key=attrgetter("price", "id"))
    tries = [{rule: _WAYS[rule]([row], book, ask) for rule in rules} for row in cheapest]
    return min((ways for ways in tries if all(ways.values())), key=lambda ways: size(_changes(ways), ask), default={})


def _changes(ways: dict[str, Way]) -> tuple[Change, ...]:
    return tuple(
        Change(rule=rule, field=field, value=value, matches=0) for rule, way in ways.items() for field, value in way
    )


_Find = Callable[[Sequence[Row], OfferBook, Ask], Way]
"""From offers that break a rule, what would let the nearest of them fit; nothing where that cannot be said."""


def _largest(field: str, column: str) -> _Find:
    return lambda rows, book, ask: ((field, max(map(attrgetter(column), rows))),)


def _slots(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    most = max(row.free for row in rows)
    return (("slots", most),) if most else ()


def _vram(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    """The one rule with two ends: small cards need a lower minimum, and only large ones a higher maximum."""
    small = [row.vram for row in rows if row.vram < ask.requirements.vram_mib]
    return (("vram_mib", max(small)),) if small else (("vram_max_mib", min(row.vram for row in rows)),)


def _price(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    return (("max_price", min(row.price for row in rows)),)


def _driver(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    newest = max(rows, key=lambda row: row.driver)
    return (("driver", book.offer_at(newest.handle).record.driver if newest.driver else ""),)


def _interruption(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    longest = max(row.notice for row in rows)
    notice: Way = (("min_notice_ms", longest),) if longest < ask.requirements.min_notice_ms else ()
    return notice if ask.requirements.interruptible else (("interruptible", True), *notice)


def _round_trip(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    return (("max_rtt_us", min((row.rtt_us for row in rows if row.rtt_us), default=0)),)


def _word(field: str, column: str, word: str) -> _Find:
    """The word of most of the offers. Those without one fit only where any will do."""

    def find(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
        first: dict[int, Row] = {}
        for row in rows:
            first.setdefault(getattr(row, column), row)
        counts = Counter(map(attrgetter(column), rows))
        words = {number: getattr(book.offer_at(row.handle).record, word) for number, row in first.items()}
        ranked = sorted(counts, key=lambda number: (not words[number], -counts[number], words[number]))
        best = next((words[number] for number in ranked if words[number] != "none"), None)
        return () if best is None else ((field, best or ()),)

    return find


def _runtime(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    """A misspelt one only: which sandbox will do is not for a program to propose."""
    wanted = ask.requirements.runtime
    if wanted in KNOWN_RUNTIMES:
        return ()
    offered = {word for row in rows for word in book.offer_at(row.handle).record.runtimes}
    near = get_close_matches(wanted, sorted(offered), 1)
    return (("runtime", near[0]),) if near else ()


def _allow(rows: Sequence[Row], book: OfferBook, ask: Ask) -> Way:
    """Mistyped keys only: of those allowed who offer nothing, the ones that are another's but for a digit or two.
    Nobody can make a key that looks so much like somebody else's."""
    typed = [key.hex() for key in ask.limits.allow if not book.offers_of(key)]
    parts = {part for key in typed for part in _parts(key)}
    # Of keys that differ in two places at most, one third at least is the same.
    sellers = (book.offer_at(row.handle).record.provider.hex() for row in rows)
    alike = sorted({key for key in sellers if not parts.isdisjoint(_parts(key))}) if parts else []
    meant = {one: next((key for key in alike if _differ(key, one) <= _SLIPS), one) for one in typed}
    keys = tuple(meant.get(key.hex(), key.hex()) for key in ask.limits.allow)
    return (("allow", keys),) if {*keys} & {*alike} else ()


def _parts(key: str) -> tuple[tuple[int, str], ...]:
    return (0, key[:21]), (1, key[21:42]), (2, key[42:])


def _differ(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


_WAYS: dict[str, _Find] = {
    "simulated": lambda rows, book, ask: (("allow_simulated", True),),
    "gpu": _word("gpus", "klass", "gpu"),
    "vram": _vram,
    "slots": _slots,
    "cpu": _largest("cpu_milli", "cpu"),
    "memory": _largest("memory_mib", "memory"),
    "disk": _largest("disk_mib", "disk"),
    "price": _price,
    "region": _word("regions", "region", "region"),
    "jurisdiction": _word("jurisdictions", "jurisdiction", "jurisdiction"),
    "runtime": _runtime,
    "cuda": _largest("cuda_milli", "cuda"),
    "driver": _driver,
    "interruption": _interruption,
    "reputation": _largest("min_reputation", "reputation"),
    "rtt": _round_trip,
    "allow": _allow,
}
"""For every rule that may be given up."""

_HOLDS: dict[str, Callable[[Row, Query], bool]] = {
    "simulated": lambda row, query: not row.flags & query.barred & SIMULATED,
    "gpu": lambda row, query: row.klass in query.classes,
    "vram": lambda row, query: query.vram <= row.vram <= query.vram_max,
    "slots": lambda row, query: row.free >= query.slots,
    "cpu": lambda row, query: row.cpu >= query.cpu,
    "memory": lambda row, query: row.memory >= query.memory,
    "disk": lambda row, query: row.disk >= query.disk,
    "price": lambda row, query: row.price <= query.max_price,
    "region": lambda row, query: bool(row.region & query.regions),
    "jurisdiction": lambda row, query: bool(row.jurisdiction & query.jurisdictions),
    "runtime": lambda row, query: row.runtimes & query.runtimes == query.runtimes,
    "cuda": lambda row, query: row.cuda >= query.cuda,
    "driver": lambda row, query: row.driver >= query.driver,
    "interruption": lambda row, query: row.notice >= query.notice,
    "reputation": lambda row, query: row.reputation >= query.reputation,
    "rtt": lambda row, query: not query.max_rtt_us or 0 < row.rtt_us <= query.max_rtt_us,
    "allow": lambda row, query: query.allow is None or row.provider in query.allow,
}
"""Those rules on rows, as in :func:`market.offer_row.fits`."""
