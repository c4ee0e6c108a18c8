"""``/work`` where quota volumes cannot be made: a plain engine volume, measured from time to time.

It outlives the job as a quota volume does, but its size is only watched: a job can write past its share for as long
as one look takes. ``docker_engine`` says which kind is in force.
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import docker.errors
import trio

from market.errors import Unavailable
from runtime.container_plan import JOB_UID, LABEL_LEASE, LABEL_NODE, MIB, WORK_DIR, WorkMount, container_name
from runtime.docker_api import DockerApi

WATCH_EVERY_S = 10.0
_SLOW_CALL_S = 120.0


class NamedVolumes:
    """Engine volumes of one node, named and labelled after their leases."""

    def __init__(self, api: DockerApi, node_id: str) -> None:
        self._api = api
        self._node_id = node_id

    async def ensure(self, lease_id: str, image_id: str) -> WorkMount:
        """Make sure the lease's volume exists and belongs to the job's user."""
        name = container_name(lease_id)
        labels = {LABEL_NODE: self._node_id, LABEL_LEASE: lease_id}
        await self._api.call(self._api.client.create_volume, name, driver="local", labels=labels)
        await self._give_to_job(name, image_id)
        return WorkMount(kind="volume", source=name)

    async def release(self, lease_id: str) -> None:
        """Make sure the lease's volume is gone.

        Raises:
            Unavailable: it is still in use.
        """
        try:
            await self._api.call(self._api.client.remove_volume, container_name(lease_id))
        except docker.errors.NotFound:
            return
        except docker.errors.APIError as error:
            raise Unavailable("a job's volume is still in use", code="volume_busy") from error

    async def used_mib(self, lease_id: str) -> int:
        """What the volume holds now. Slow where we may not look into the engine's directory."""
        try:
            volume = await self._api.call(self._api.client.inspect_volume, container_name(lease_id))
        except docker.errors.APIError as error:
            raise Unavailable("a job's volume cannot be measured", code="volume_failed") from error
        mounted = Path(volume["Mountpoint"])
        if os.access(mounted, os.R_OK | os.X_OK):
            return int(await trio.to_thread.run_sync(_disk_usage_mib, mounted))
        listed = await self._api.call(self._api.client.df, timeout=_SLOW_CALL_S)
        sizes = {item["Name"]: (item.get("UsageData") or {}).get("Size", 0) for item in listed["Volumes"]}
        return max(0, int(sizes.get(container_name(lease_id), 0))) // MIB

    async def _give_to_job(self, name: str, image_id: str) -> None:
        """Own the volume's top directory to the job's user, without running anything.

        The engine unpacks archives into containers that never start; through one with a writable root the entry
        ``work/`` lands on the volume itself. The real container refuses that: its root is read-only.
        """
        config = {
            "Image": image_id,
            "Cmd": ["/"],
            "Labels": {LABEL_NODE + ".helper": self._node_id},
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [{"Type": "volume", "Source": name, "Target": WORK_DIR}],
            },
        }
        client = self._api.client
        created = await self._api.call(client.create_container_from_config, config, None)
        try:
            await self._api.call(client.put_archive, created["Id"], "/", _work_entry())
        finally:
            with trio.CancelScope(shield=True):
                await self._api.call(client.remove_container, created["Id"], force=True)


def _work_entry() -> bytes:
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo(WORK_DIR.strip("/"))
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, 0o755, JOB_UID, JOB_UID
            archive.addfile(entry)
        return buffer.getvalue()


def _disk_usage_mib(top: Path) -> int:
    """Blocks in use, links not followed: a job chooses these names."""
    blocks = 0
    for where, _, names in os.walk(top):
        for name in names:
            try:
                blocks += os.lstat(os.path.join(where, name)).st_blocks
            except FileNotFoundError:
                continue
    return blocks * 512 // MIB
