"""Who claims to be where: what lets an auction pass over thousands who pose as many from one network, all at once.

A list has room for a few of one neighbourhood (:mod:`market.neighbourhood`). When it has them, nobody else who offers
nothing but machines from there can come on it, and need not be looked at.
"""

from __future__ import annotations

from collections.abc import Set

_NOBODY: frozenset[int] = frozenset()


class Crowds:
    """The places of all machines of a book, by the numbers of their providers."""

    def __init__(self) -> None:
        self._places: dict[int, dict[str, int]] = {}
        self._only: dict[str, set[int]] = {}

    def move(self, provider: int, was: str | None, now: str | None) -> None:
        """A machine of this provider is in another place than before; None: not in the book."""
        if was == now:
            return
        places = self._places.get(provider)
        if places is None:
            # What nearly every new offer is: the first of its provider.
            if now is not None:
                self._places[provider] = {now: 1}
                self._only.setdefault(now, set()).add(provider)
            return
        if len(places) == 1:
            self._leave(next(iter(places)), provider)
        if was is not None:
            places[was] -= 1
            if not places[was]:
                del places[was]
        if now is not None:
            places[now] = places.get(now, 0) + 1
        if len(places) == 1:
            self._only.setdefault(next(iter(places)), set()).add(provider)
        elif not places:
            del self._places[provider]

    def only_in(self, place: str) -> Set[int]:
        """The providers all of whose machines are in this one place."""
        return self._only.get(place, _NOBODY)

    def _leave(self, place: str, provider: int) -> None:
        providers = self._only[place]
        providers.discard(provider)
        if not providers:
            del self._only[place]
