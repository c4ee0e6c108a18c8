"""What to do next about a transaction that was sent, by what the chain says of it. Pure; time comes in as seconds."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from ledger.ports import Transaction

MISSES_ALLOWED = 3
"""Looks that find a nonce used and no transaction of ours: an endpoint's parts may be a moment apart."""


class Sight(Struct, frozen=True, kw_only=True):
    """What the chain says of one flight: ``found`` when one of its forms is mined; ``used`` when its nonce is."""

    found: Transaction | None
    used: bool
    head: int


class Look(Struct, frozen=True, kw_only=True):
    """One look at all flights: by nonce, and the account's ``count`` of mined transactions."""

    count: int
    sights: dict[int, Sight]


class Step(StrEnum):
    """The next thing to do."""

    WAIT = "wait"
    CONFIRM = "confirm"
    FINISH = "finish"
    SEND_AGAIN = "send_again"
    RAISE = "raise"
    DISPLACED = "displaced"


class Progress(Struct, kw_only=True):
    """What this process knows of a flight. ``confirmations`` are blocks on top until its sender is told; ``done`` is
    what it is told; ``owned`` while it waits for that; ``told`` since then, in this process or an earlier one.
    ``launching`` until the chain has taken or refused its first form."""

    sent_at: float
    confirmations: int
    mined: Transaction | None = None
    done: Transaction | None = None
    told: bool = False
    displaced: bool = False
    misses: int = 0
    owned: bool = False
    launching: bool = False


class StepRules(Struct, frozen=True, kw_only=True):
    """``bump_after_s`` is the patience with a fee; ``final_after`` how deep a transaction is forgotten."""

    bump_after_s: float
    final_after: int


def next_step(progress: Progress, sight: Sight, now: float, rules: StepRules) -> Step:
    """Decide, and note in ``progress`` what was seen."""
    vanished = progress.mined is not None and sight.found is None
    progress.mined = sight.found
    progress.misses = progress.misses + 1 if sight.used and sight.found is None else 0
    if sight.found is not None:
        depth = sight.head - sight.found.block
        if not progress.told:
            return Step.CONFIRM if depth >= progress.confirmations else Step.WAIT
        return Step.FINISH if depth >= max(rules.final_after, progress.confirmations) else Step.WAIT
    if sight.used:
        # While it is launched, a refusal says the same, and whoever launches it acts on that: two would do it twice.
        return Step.DISPLACED if progress.misses >= MISSES_ALLOWED and not progress.launching else Step.WAIT
    if vanished:
        # A reorganisation took it back. Nodes mostly put it into their pools again, and some do not.
        return Step.SEND_AGAIN
    return Step.RAISE if now >= progress.sent_at + rules.bump_after_s else Step.WAIT
