"""Words as small numbers and single bits, so that a set of words is tested with one ``and``.

Strangers choose the words, so a table is bounded: a word that finds no room shares the last place with others, and its
row is marked to be checked by its words in the end. Places are given back when the last offer that uses one is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

A = TypeVar("A")
W = TypeVar("W", bound=Hashable)
_ANSWERS_KEPT = 256


class WordTable(Generic[W]):
    """Numbers for words, counted by use.

    Args:
        places: how many there are, the shared one among them.
        names: by what a word can be found (:meth:`found_as`); by itself when not given.

    Attributes:
        version: changes whenever a word comes or goes: what was computed from the table is then out of date.
    """

    def __init__(self, places: int, *, names: Callable[[W], Iterable[Hashable]] = lambda word: (word,)) -> None:
        self._shared = places - 1
        self._names = names
        self._by_name: tuple[int, dict[Hashable, list[int]]] = (-1, {})
        self._numbers: dict[W, int] = {}
        self._uses: dict[W, int] = {}
        self._vacant: list[int] = []
        self.version = 0

    def hold(self, word: W) -> int:
        """The number of a word, from now on in use once more. The shared one when the table is full."""
        number = self._numbers.get(word)
        if number is None:
            number = self._vacant.pop() if self._vacant else min(len(self._numbers), self._shared)
            if number == self._shared:
                return number
            self._numbers[word] = number
            self.version += 1
        self._uses[word] = self._uses.get(word, 0) + 1
        return number

    def release(self, word: W, number: int) -> None:
        """One use less of the number that :meth:`hold` gave. Those that share the last place are not counted."""
        if number == self._shared or self._numbers.get(word) != number:
            return
        self._uses[word] -= 1
        if not self._uses[word]:
            del self._uses[word]
            self._vacant.append(self._numbers.pop(word))
            self.version += 1

    def number(self, word: W) -> int:
        """The number of a word; the shared one when no offer of its own place uses it."""
        return self._numbers.get(word, self._shared)

    def is_shared(self, number: int) -> bool:
        """Whether this place is the one for the words that found no other."""
        return number == self._shared

    def matching(self, wanted: Callable[[W], bool]) -> list[int]:
        """Numbers of the words that are wanted, and always the shared one: what is in it must be looked at."""
        return sorted([*(number for word, number in self._numbers.items() if wanted(word)), self._shared])

    def found_as(self, names: Iterable[Hashable]) -> list[int]:
        """Numbers of the words that have one of these names, and always the shared one."""
        version, by_name = self._by_name
        if version != self.version:
            # Made for all names at once: strangers ask for many, and to hold each against each word takes seconds.
            by_name = {}
            for word, number in self._numbers.items():
                for name in self._names(word):
                    by_name.setdefault(name, []).append(number)
            self._by_name = (self.version, by_name)
        return sorted({number for name in names for number in by_name.get(name, ())} | {self._shared})

    def all(self) -> list[int]:
        """Every number in use, and the shared one."""
        return sorted([*self._numbers.values(), self._shared])


class Answers(Generic[A]):
    """What was answered about a table of words, until a word comes or goes. Bounded: strangers choose the questions."""

    __slots__ = ("_answer", "_known", "_table")

    def __init__(self, table: WordTable[str], answer: Callable[[tuple[str, ...]], A]) -> None:
        self._table = table
        self._answer = answer
        self._known: dict[tuple[str, ...], tuple[int, A]] = {}

    def to(self, question: tuple[str, ...]) -> A:
        """The answer to these words, worked out anew when the table has changed."""
        known = self._known.get(question)
        if known is not None and known[0] == self._table.version:
            return known[1]
        found = self._answer(question)
        if len(self._known) >= _ANSWERS_KEPT:
            self._known.clear()
        self._known[question] = (self._table.version, found)
        return found


def mask_of(numbers: list[int]) -> int:
    """The bits of these numbers."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask
