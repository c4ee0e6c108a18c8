"""Why nothing matched: how many offers fail each rule, how many fail only that one, and the nearest changes.

A change is proposed only after it was tried on the same book and found to match (reason 2 of the product). Where no
single one helps, those are proposed that help together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from market.ask import Ask
from market.compiler import OVERFLOW
from market.feasibility import failures
from market.matching import candidate_of
from market.nearest import BIT, Suggestion, suggest
from market.offer_book import OfferBook
from market.offer_row import SIMULATED, UNBEARABLE, Query, Row
from market.relaxed import Change

__all__ = ["Change", "RuleCount", "Suggestion", "WhyNot", "why_not"]


class RuleCount(Struct, frozen=True, kw_only=True):
    """How one rule fared over the book: ``fails`` in all, ``only`` where nothing else stood in the way."""

    rule: str
    fails: int
    only: int


class WhyNot(Struct, frozen=True, kw_only=True):
    """The answer to "why did nobody take my job?".

    Attributes:
        offers, matches: how many there are and fit.
        rules: those that fail somewhere, what fails most first.
        closest: single changes that help, one per rule, the smallest first.
        suggestions: the same, or, where no single change helps, sets of changes.
    """

    offers: int
    matches: int
    rules: tuple[RuleCount, ...]
    closest: tuple[Change, ...]
    suggestions: tuple[Suggestion, ...] = ()


LEFT_ALONE = "left_alone"
"""The rule that nobody wrote: providers that are not asked for a while, or are kept free for another job."""


def why_not(book: OfferBook, ask: Ask, now: int, *, without: bytes = b"", resting: Collection[bytes] = ()) -> WhyNot:
    """Count failures per rule and find the smallest changes that would match. One pass over the book.

    Args:
        book: the offers this node knows.
        ask: what was wanted.
        now: UTC milliseconds; offers past their time do not count.
        without: a provider whose offers do not count: this node itself.
        resting: providers among those denied whom the owner did not deny. They count as :data:`LEFT_ALONE`, and no
            change is proposed for their sake: it would not be these that take the job.
    """
    query = book.compile(ask, now)
    rows, left_alone = list(book.rows(now)), list[Row]()
    if apart := _handles(book, without) | {handle for one in resting for handle in _handles(book, one)}:
        own = _handles(book, without)
        left_alone = [row for row in rows if row.handle in apart and row.handle not in own]
        rows = [row for row in rows if row.handle not in apart]
    groups, idle = (_by_faults(some, query, _words(book, ask)) for some in (rows, left_alone))
    fails = {name: sum(len(found) for faults, found in groups.items() if faults & bit) for name, bit in BIT.items()}
    rules = [
        RuleCount(rule=name, fails=count, only=len(groups.get(BIT[name], ()))) for name, count in fails.items() if count
    ]
    if left_alone:
        rules.append(RuleCount(rule=LEFT_ALONE, fails=len(left_alone), only=len(idle.get(BIT["deny"], ()))))
    suggestions = suggest(book, ask, now, groups)
    return WhyNot(
        offers=len(rows) + len(left_alone),
        matches=len(groups.get(0, ())),
        rules=tuple(sorted(rules, key=lambda rule: -rule.fails)),
        closest=tuple(one.changes[0] for one in suggestions if len(one.changes) == 1),
        suggestions=tuple(suggestions),
    )


def _handles(book: OfferBook, provider: bytes) -> set[int]:
    offers = book.offers_of(provider)
    return {row.handle for one in offers if (row := book.row_of(provider, one.record.machine)) is not None}


def _words(book: OfferBook, ask: Ask) -> Callable[[Row], int]:
    """Which rules a row breaks whose words found no place in the compiler's tables."""

    def faults(row: Row) -> int:
        candidate = candidate_of(book, book.offer_at(row.handle))
        return sum(BIT[name] for name in failures(candidate, ask.requirements, ask.limits))

    return faults


def _by_faults(rows: Sequence[Row], query: Query, words: Callable[[Row], int]) -> dict[int, list[Row]]:
    """The rows by the rules they break, as bits in the order of the rules."""
    (_, _, classes, venue, max_price, slots, vram, vram_max, cpu, memory, disk, cuda, driver, notice, reputation,
     max_rtt_us, regions, laws, runtimes, barred, allow, deny) = query[:22]  # fmt: skip
    wanted = frozenset(classes)
    groups: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        (provider, klass, _, price, free, o_vram, o_cpu, o_memory, o_disk, o_cuda, o_driver, o_notice, o_reputation,
         rtt_us, _, o_venue, region, law, o_runtimes, flags) = row[3:23]  # fmt: skip
        faults = (
            (0 if o_venue & venue else 1)
            | (flags & UNBEARABLE and 2)
            | (flags & barred & SIMULATED and 4)
            | (0 if klass in wanted else 8)
            | (0 if vram <= o_vram <= vram_max else 16)
            | (0 if free >= slots else 32)
            | (0 if o_cpu >= cpu else 64)
            | (0 if o_memory >= memory else 128)
            | (0 if o_disk >= disk else 256)
            | (0 if price <= max_price else 512)
            | (0 if region & regions else 1024)
            | (0 if law & laws else 2048)
            | (0 if o_runtimes & runtimes == runtimes else 4096)
            | (0 if o_cuda >= cuda else 8192)
            | (0 if o_driver >= driver else 16384)
            | (0 if o_notice >= notice else 32768)
            | (0 if o_reputation >= reputation else 65536)
            | (0 if not max_rtt_us or 0 < rtt_us <= max_rtt_us else 131072)
            | (0 if allow is None or provider in allow else 262144)
            | (524288 if provider in deny else 0)
        )
        groups[words(row) if flags & OVERFLOW else faults].append(row)
    return groups
