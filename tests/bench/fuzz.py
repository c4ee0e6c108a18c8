"""A long comparison of the two indexes, decision by decision, with a judge that shares no code with either.

    python -m tests.bench fuzz [--decisions 1000000] [--seed 7]

Books of many sizes live through bids, releases, price changes, refreshed offers, withdrawals, returns and expiry. Every
decision of the index in C must be that of the index in Python, and the judge (:mod:`tests.bench.judge`) looks at every
row to prove that the chosen one breaks no rule, has the slots, and is the best. Stops with exit code 1 otherwise.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from market.native_index import AVAILABLE, NativeIndex
from market.offer_index import OfferIndex
from market.offer_row import Row
from tests.bench.judge import Judge
from tests.bench.odd_market import START, a_bid, a_row

SIZES = (8, 40, 150, 400, 1_200)
LARGE = 20_000
"""Rows of one class that the index in C keeps in parts."""
PER_BOOK, PER_LARGE_BOOK, BOOKS_PER_LARGE = 2_500, 500, 40


@dataclass
class Outcome:
    """What a comparison found. All but the first two must be 0."""

    decisions: int = 0
    served: int = 0
    different: int = 0
    violations: int = 0
    not_best: int = 0
    unbalanced: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong."""
        return not (self.different or self.violations or self.not_best or self.unbalanced)

    def add(self, other: Outcome) -> None:
        """Count what another comparison found, too."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


class Book:
    """One market, kept three times: by the index in C, by the one in Python, and by the judge."""

    def __init__(self, seed: int, size: int, native: type[NativeIndex] = NativeIndex) -> None:
        self.luck = random.Random(seed)
        self.classes = 1 if size >= LARGE else self.luck.choice((1, 3, 12))
        self.size, self.now, self.found = size, START, Outcome()
        self.native, self.python, self.judge = native(), OfferIndex(), Judge(size)
        self.jobs: list[tuple[int, int]] = []
        for handle in range(size):
            self.put(a_row(self.luck, handle, self.classes, self.now))

    def put(self, row: Row) -> None:
        """An offer is new or says something else."""
        self.native.put(row)
        self.python.put(row)
        self.judge.put(row)

    def drop(self, handle: int) -> None:
        """An offer is withdrawn. Jobs that run on it run to their end elsewhere."""
        self.native.drop(handle)
        self.python.drop(handle)
        self.judge.drop(handle)
        self.jobs = [job for job in self.jobs if job[0] != handle]

    def decide(self) -> None:
        """One bid; now and then the whole ranking, and the going price."""
        bid = a_bid(self.luck, self.classes, self.now)
        if self.luck.random() < 0.02:
            count = self.luck.choice((3, 16, self.size))
            self.found.different += self.native.top(bid, count) != self.python.top(bid, count)
            klass = self.luck.randrange(self.classes + 1)
            self.found.different += self.native.prices(klass) != self.python.prices(klass)
        best = self.judge.best(bid)
        chosen = self.native.match(self.native.pack(bid) if self.luck.random() < 0.5 else bid)
        self.found.decisions += 1
        self.found.different += self.python.match(bid) != chosen
        self.found.not_best += best != chosen
        if chosen >= 0:
            self.found.served += 1
            self.found.violations += not self.judge.take(bid, chosen)
            self.jobs.append((chosen, bid.slots))

    def release(self) -> None:
        """Jobs end, the sooner the fuller the market."""
        while self.jobs and self.luck.random() < (0.3 if len(self.jobs) < self.size else 0.9):
            handle, slots = self.jobs.pop(self.luck.randrange(len(self.jobs)))
            self.native.give(handle, slots)
            self.python.give(handle, slots)
            self.judge.give(handle, slots)

    def change(self) -> None:
        """Something happens to an offer."""
        handle, kind = self.luck.randrange(self.size), self.luck.random()
        row = self.judge.row(handle)
        if row is None or kind < 0.05:
            # Another machine under the same number: of another class, perhaps, and with no jobs.
            self.jobs = [job for job in self.jobs if job[0] != handle]
            self.judge.drop(handle)
            self.put(a_row(self.luck, handle, self.classes, self.now))
        elif kind < 0.15:
            self.drop(handle)
        elif kind < 0.6:
            self.put(row._replace(price=min(10**15, int(row.price * self.luck.uniform(0.5, 1.9)))))
        else:
            name = self.luck.randbytes(32)
            tie, expires = int.from_bytes(name[:8], "big"), self.now + self.luck.randrange(60_000)
            self.put(row._replace(id=name, tie=tie, expires=expires))

    def expire(self) -> None:
        """Time goes on. Not every offer whose time has come is taken out at once."""
        self.now += self.luck.randrange(1_000)
        for handle in self.judge.expired(self.now):
            if self.luck.random() < 0.5:
                self.drop(handle)

    def audit(self) -> None:
        """Every slot is free or with a job, and all three books say the same."""
        held = dict.fromkeys(range(self.size), 0)
        for handle, slots in self.jobs:
            held[handle] += slots
        native = {row.handle: row for row in self.native.rows()}
        self.found.different += native != {row.handle: row for row in self.python.rows()}
        self.found.unbalanced += len(native) != len(self.native) or self.judge.handles() != set(native)
        for handle, row in native.items():
            total = self.judge.total(handle)
            self.found.unbalanced += row.free != self.native.free(handle) or row.free + held[handle] != total


def follow(book: Book, decisions: int) -> Outcome:
    """So many decisions in one book."""
    for step in range(decisions):
        book.decide()
        book.release()
        if book.luck.random() < 0.4:
            book.change()
        if step % 50 == 49:
            book.expire()
    book.audit()
    return book.found


def compare(decisions: int, seed: int, *, native: type[NativeIndex] = NativeIndex) -> Outcome:
    """So many decisions in one book after the other.

    Args:
        decisions: how many in all.
        seed: the same seed gives the same markets.
        native: which build of the index in C.
    """
    luck, found, books = random.Random(seed), Outcome(), 0
    while found.decisions < decisions:
        books += 1
        big = books % BOOKS_PER_LARGE == 0
        size = LARGE if big else luck.choice(SIZES)
        most = PER_LARGE_BOOK if big else PER_BOOK
        found.add(follow(Book(luck.getrandbits(32), size, native), min(most, decisions - found.decisions)))
    return found


def main(words: Sequence[str]) -> None:
    """Compare, and print what was found.

    Raises:
        SystemExit: the index in C was not built, or something was wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.bench fuzz")
    parser.add_argument("--decisions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(words)
    if not AVAILABLE:
        raise SystemExit("the native index was not built: make setup-test")
    began = time.perf_counter()
    found = compare(options.decisions, options.seed)
    took = time.perf_counter() - began
    print(f"seed {options.seed}: {found.decisions:,} decisions, {found.served / found.decisions:.2f} of them served")
    print(f"different from the index in Python: {found.different}")
    print(f"rules broken by the judge's reading: {found.violations}, not the best: {found.not_best}")
    print(f"slots neither free nor with a job: {found.unbalanced}")
    print(f"{took:.0f} s")
    if not found.is_clean:
        raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
