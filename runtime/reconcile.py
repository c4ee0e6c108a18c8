"""Compare the containers found on the machine with the leases a node knows, and say what to do. Pure.

Run once before a node serves. It decides only about containers that carry this node's label; whatever it cannot
explain it leaves alone, because deleting a paid job by mistake is worse than keeping a stray one for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from runtime.ports import ContainerState


class KnownLease(Struct, frozen=True, kw_only=True):
    """A lease in the journal. ``over``: its duties have ended, so nothing of it should be left."""

    lease_id: str
    fencing: int
    over: bool


class Step(StrEnum):
    """What to do about one lease. ``ADOPT`` is nothing more than "its own duty goes on with it"."""

    ADOPT = "adopt"
    REMOVE = "remove"
    LEAVE = "leave"


class Action(Struct, frozen=True, kw_only=True):
    """A step and the sentence that explains it in the log."""

    lease_id: str
    step: Step
    why: str


def reconcile(found: Iterable[ContainerState], known: Iterable[KnownLease]) -> list[Action]:
    """One action per found container, in the order found.

    A known lease without a container needs none here: its duty creates it, or learns that it was lost.
    """
    leases = {lease.lease_id: lease for lease in known}
    return [_judge(container, leases.get(container.lease_id)) for container in found]


def _judge(container: ContainerState, lease: KnownLease | None) -> Action:
    if lease is None:
        step, why = Step.REMOVE, "no lease is known for it"
    elif container.fencing < lease.fencing:
        step, why = Step.REMOVE, f"its fencing token {container.fencing} is older than {lease.fencing}"
    elif container.fencing > lease.fencing:
        # A journal restored from a copy knows less than the machine does.
        step, why = Step.LEAVE, f"its fencing token {container.fencing} is newer than the journal's"
    elif lease.over:
        step, why = Step.REMOVE, "its lease is over"
    else:
        step, why = Step.ADOPT, f"its lease goes on ({container.phase})"
    return Action(lease_id=container.lease_id, step=step, why=why)
