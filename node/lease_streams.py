"""What every stream of a lease is held to: few at a time, and only for as long as the lease stands where it did.

A stream outlives whatever allowed it unless somebody ends it; files it holds open stay on the disk although they were
deleted. So nothing is served here without a watcher beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from functools import partial

import trio

from market.errors import FabricError, Unavailable
from market.lease import Stage
from node.lease_board import LeaseBoard
from node.ports import PeerUnreachable

_WORLD = (FabricError, PeerUnreachable, OSError)
"""What serving a stream may meet. Anything else is a mistake of ours and comes out as trio has it, in a group."""

Act = Callable[[], Awaitable[None]]


class StreamPlaces:
    """Counts what is being served. Holds nothing of what is over."""

    def __init__(self) -> None:
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def place(self, what: Hashable, *, most: int) -> Iterator[bool]:
        """Take one of ``most`` places for ``what`` during the block; False when all are taken."""
        if self._taken[what] >= most:
            yield False
            return
        self._taken[what] += 1
        try:
            yield True
        finally:
            self._taken[what] -= 1
            self._taken = +self._taken


async def while_stage(board: LeaseBoard, stages: Collection[Stage], work: Act) -> None:
    """Do ``work`` for as long as the lease is in one of ``stages``; give it up the moment it leaves them.

    Raises:
        Unavailable: the lease moved on first, or its files cannot be used. Also whatever ``work`` raised.
    """
    try:
        done = await beside(partial(_leave, board, stages), work)
    except OSError as error:
        raise Unavailable(f"the files of the lease cannot be used: {error.strerror}", code="disk_failed") from None
    if not done:
        raise Unavailable("the lease moved on", code="wrong_stage")


async def beside(watch: Act, work: Act) -> bool:
    """Do ``work`` until it is done (True), or ``watch`` returns (False). What either raises comes out as it is."""
    failures: list[Exception] = []
    done = False

    async def guard(scope: trio.CancelScope) -> None:
        try:
            await watch()
        except _WORLD as error:
            failures.append(error)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guard, nursery.cancel_scope)
        try:
            await work()
            done = True
        except _WORLD as error:
            failures.append(error)
        nursery.cancel_scope.cancel()
    if failures and not done:
        raise failures[0]
    return done


async def _leave(board: LeaseBoard, stages: Collection[Stage]) -> None:
    while board.state.stage in stages:
        await board.wait_change()
