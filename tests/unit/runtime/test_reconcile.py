"""Every case of a container meeting, or missing, its lease."""

from __future__ import annotations

import pytest

from runtime.ports import ContainerState
from runtime.reconcile import KnownLease, Step, reconcile

LEASE = "0123456789abcdef"


def found(fencing: int = 5, phase: str = "running") -> ContainerState:
    return ContainerState(lease_id=LEASE, fencing=fencing, phase=phase)


def known(fencing: int = 5, *, over: bool = False, lease_id: str = LEASE) -> KnownLease:
    return KnownLease(lease_id=lease_id, fencing=fencing, over=over)


@pytest.mark.parametrize(
    ("container", "lease", "step"),
    [
        (found(), None, Step.REMOVE),
        (found(), known(), Step.ADOPT),
        (found(phase="created"), known(), Step.ADOPT),
        (found(phase="exited"), known(), Step.ADOPT),
        (found(), known(over=True), Step.REMOVE),
        (found(fencing=4), known(), Step.REMOVE),
        (found(fencing=6), known(), Step.LEAVE),
        (found(fencing=6), known(over=True), Step.LEAVE),
    ],
)
def test_each_case(container: ContainerState, lease: KnownLease | None, step: Step) -> None:
    [action] = reconcile([container], [lease] if lease else [])
    assert (action.lease_id, action.step) == (LEASE, step)
    assert action.why


def test_a_lease_without_a_container_needs_no_action() -> None:
    assert reconcile([], [known()]) == []
