"""Drives one lease: run the duty its stage names until a fact moves it on. One task owns one lease.

There is nothing here to do at start-up that is not done all the time: a replayed board has a stage, the stage has a
duty, and every duty is safe to repeat.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import msgspec
import trio

from market.duties import Duty, Role, duty
from market.errors import InvalidRequest, PeerFault, Unavailable
from market.lease import OVER, DeadlinePassed, deadline
from node.lease_board import LeaseBoard
from node.ports import Clock, PeerUnreachable
from runtime.ports import ContainerLost

log = logging.getLogger(__name__)

Perform = Callable[[Duty, LeaseBoard], Awaitable[None]]
"""Does a duty. May return early (the driver then waits for the stage to change) and may be cancelled at any await."""

_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 15.0
_MOST_REASONS = 8
_IN_THE_WAY = (Unavailable, PeerUnreachable, PeerFault, InvalidRequest, ContainerLost, OSError)
"""What a duty may meet and try again after: also a container that vanished between two calls, and a full disk."""


async def drive_lease(board: LeaseBoard, perform: Perform, clock: Clock, *, rng: random.Random) -> None:
    """Carry a lease from where it stands to its end, then do the closing duty once.

    Args:
        board: the lease, new or replayed.
        perform: carries out duties against the real world.
        clock: deadlines are UTC milliseconds of this clock.
        rng: jitter of retries.
    """
    while board.state.stage not in OVER:
        stage = board.state.stage
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(_persist, clock=clock, rng=rng), perform, duty(stage, board.role), board)
            while board.state.stage is stage:
                await _wait_change_or_deadline(board, clock)
            nursery.cancel_scope.cancel()
    await _persist(perform, duty(board.state.stage, board.role), board, clock=clock, rng=rng)


async def _wait_change_or_deadline(board: LeaseBoard, clock: Clock) -> None:
    due = deadline(board.state)
    if due is None:
        await board.wait_change()
        return
    with trio.move_on_after(max(0.0, (due - clock.now_ms()) / 1000)):
        await board.wait_change()
        return
    # A payment may have moved the deadline while we slept, so it is asked again, by the clock that recorded it.
    due = deadline(board.state)
    if due is not None and clock.now_ms() >= due:
        try:
            await board.record(DeadlinePassed(at=clock.now_ms()))
        except Unavailable as error:
            # The journal cannot write (disk full): the deadline stands and is tried again, nothing is believed.
            log.warning("lease %s: %s", board.lease_id.hex()[:8], error)
            await trio.sleep(1.0)


async def _persist(perform: Perform, what: Duty, board: LeaseBoard, *, clock: Clock, rng: random.Random) -> None:
    """Repeat a duty for as long as the world is in the way; back off exponentially, with jitter."""
    pause = _FIRST_RETRY_S
    told: set[str] = set()
    while True:
        try:
            await perform(what, board)
        except* _IN_THE_WAY as group:
            # A peer's fault or a refused request must not take the node down; the stage's deadline bounds the retries.
            # Duties that run tasks of their own raise in groups, however deep, and one of a kind may come alone.
            await _tell_waiting(board, what, str(_first(group)), told, clock)
        else:
            return
        await trio.sleep(pause * rng.uniform(0.5, 1.5))
        pause = min(pause * 2, _LAST_RETRY_S)


async def _tell_waiting(board: LeaseBoard, what: Duty, why: str, told: set[str], clock: Clock) -> None:
    """Say once what a duty waits for: silence is what users fear most, and a line per retry is no better."""
    why = why[:300].encode("utf-8", "backslashreplace").decode()
    if why in told or len(told) >= _MOST_REASONS:
        return
    told.add(why)
    log.info("lease %s: %s waits: %s", board.lease_id.hex()[:8], what, why)
    if board.role is Role.REQUESTER:
        with suppress(Unavailable):
            await board.note("waiting", msgspec.json.encode({"duty": str(what), "detail": why}), clock.now_ms())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
