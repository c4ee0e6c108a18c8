"""The same work for many things, a few at a time, where one that fails must not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

from market.errors import InvalidRequest, Unavailable

T = TypeVar("T")


async def several(things: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Begin in the given order; one more as soon as one is done.

    Raises:
        Unavailable, InvalidRequest: the first that failed so, once all were tried. Another error stops all.
    """
    left = iter(things)
    failures: list[Unavailable | InvalidRequest] = []

    async def one_after_the_other() -> None:
        for thing in left:
            try:
                await work(thing)
            except (Unavailable, InvalidRequest) as error:
                failures.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(one_after_the_other)
    if failures:
        raise failures[0]
