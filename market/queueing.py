"""Who of several waiting jobs is tried first: highest response ratio next (Brinch Hansen 1971). Pure.

A job's priority is ``(waited + length) / length``. Everybody begins at 1; a short job rises quickly and is not stuck
behind long ones, and a long one rises too, past any short one that came later, and so is never left behind for good.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

_SCALE = 1 << 64


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
