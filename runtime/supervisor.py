"""Bring the machine in line with the journal before a node serves. Decides nothing: see ``reconcile.py``."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from market.errors import Unavailable
from runtime.ports import ContainerEngine
from runtime.reconcile import Action, KnownLease, Step, reconcile

log = logging.getLogger(__name__)


async def tidy_up(engine: ContainerEngine, known: Iterable[KnownLease]) -> list[Action]:
    """Remove this node's containers that belong to no live lease; returns what was decided about each.

    One that cannot be removed now is logged and left for the next start: it must not keep a node from serving.

    Raises:
        Unavailable: the engine does not even list its containers.
    """
    actions = reconcile(await engine.leases(), known)
    for action in actions:
        log.info("container of lease %s: %s, because %s", action.lease_id[:8], action.step, action.why)
        if action.step is Step.REMOVE:
            try:
                await engine.ensure_removed(action.lease_id)
            except Unavailable as error:
                log.warning("container of lease %s could not be removed: %s", action.lease_id[:8], error.message)
    return actions
