"""Gives back to the engine's machine what nodes of a devnet still hold there once their processes are gone.

A node that stopped in peace holds nothing. One that was killed leaves its job's container, volume and cgroup to its
next start; a devnet has no next start, so this takes the place of it, through the same runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import trio

from market.errors import FabricError, Unavailable
from node.devnet.engine_leftovers import EngineLeftovers
from runtime.docker_engine import open_docker_engine
from runtime.work_volumes import WorkVolumes

_TIMEOUT_S = 60.0


def retire_nodes(homes: Mapping[str, Path]) -> list[tuple[str, str]]:
    """Remove everything of these nodes (engine node id → home folder) and return ``(kind, id)`` of what there was.

    Not for use inside an event loop.

    Raises:
        Unavailable: the engine does not answer, or could not remove something in time.
    """
    leftovers = EngineLeftovers()
    found = leftovers.find(homes) + _disks(homes)
    if found:
        trio.run(_retire_all, homes)
        leftovers.remove(leftovers.find(homes))
        for home in homes.values():
            volumes = _volumes(home)
            for lease_id in volumes.leases():
                volumes.release(lease_id)
    return found


def _disks(homes: Mapping[str, Path]) -> list[tuple[str, str]]:
    return [("disk", lease_id) for home in homes.values() for lease_id in _volumes(home).leases()]


def _volumes(home: Path) -> WorkVolumes:
    return WorkVolumes(home / "runtime" / "volumes")


async def _retire_all(homes: Mapping[str, Path]) -> None:
    with trio.move_on_after(_TIMEOUT_S):
        for node_id, home in homes.items():
            if await trio.Path(home / "runtime").exists():
                await _retire(node_id, home / "runtime")
        return
    raise Unavailable(f"the engine needed more than {_TIMEOUT_S:.0f} s to remove jobs", code="engine_slow")


async def _retire(node_id: str, state_dir: Path) -> None:
    try:
        async with open_docker_engine(node_id=node_id, state_dir=state_dir) as engine:
            for container in await engine.leases():
                await engine.ensure_removed(container.lease_id)
    except* FabricError as group:
        # The runtime's nursery wraps what it raises; one cause is enough to tell.
        raise Unavailable(f"a job could not be removed: {group.exceptions[0]}", code="not_removed") from None
