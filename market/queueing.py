"""Who of several waiting jobs is tried first: highest response ratio next (Brinch Hansen 1971). Pure.

A job's priority is ``(waited + length) / length``. Everybody begins at 1; a short job rises quickly and is not stuck
behind long ones, and a long one rises too, past any short one that came later, and so is never left behind for good.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

_SCALE = 1 << 64
HOLDS_AFTER_MS = 5 * 60_000
"""When a job that needs several slots at once has waited so long, others leave it room."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A waiting job, as its turn depends on it.

    Attributes:
        number: its place in the order of submission; decides ties.
        since: UTC milliseconds of its submission.
        length: the GPU-milliseconds it may take, at least 1: its longest duration times its slots.
    """

    number: int
    since: int
    length: int


def priority(job: Waiting, now: int) -> int:
    """The response ratio at ``now`` (UTC milliseconds), in parts of 2⁶⁴, rounded down. A job dated in the future has
    not waited."""
    waited = max(0, now - job.since)
    return (waited + job.length) * _SCALE // job.length


def in_turn(jobs: Iterable[Waiting], now: int) -> list[Waiting]:
    """The jobs in the order in which they are tried."""
    return sorted(jobs, key=lambda job: (-priority(job, now), job.number))


def holds(job: Waiting, now: int) -> bool:
    """Whether a job that needs several slots may keep others off machines that could serve it, at ``now``.

    Free slots that come one by one are taken one by one: without this, it would be overtaken for ever. It holds for as
    long as it has waited, then lets the others go first for twice as long, then holds twice as long again, and so on:
    in the end long enough for everything that runs on a machine to end, and nobody else is kept off for good.
    """
    return (max(0, now - job.since) // HOLDS_AFTER_MS).bit_length() % 2 == 1
