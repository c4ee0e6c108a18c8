"""The containers of one node's leases: find, create, start, end, remove. Each lease has at most one, by its name.

"Gone" means that no process is left in the lease's control group. The engine's own word is not enough: engines have
called a container exited while its children ran on, and have hung on one they could not kill.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import docker.errors
import trio

from market.errors import InvalidRequest, Unavailable
from runtime.cgroup_files import LeaseCgroups
from runtime.container_plan import LABEL_LEASE, LABEL_NODE, container_name
from runtime.docker_api import DockerApi
from runtime.docker_exits import DockerExits
from runtime.docker_state import has_ended, is_paused, is_running, program_places

START_TIMEOUT_S = 120.0
KILL_TIMEOUT_S = 5.0
GONE_TIMEOUT_S = 15.0
_LOOK_S = 0.02

Inspected = dict[str, Any]


class DockerContainers:
    """Containers labelled with our node id. Never touches another."""

    def __init__(self, api: DockerApi, cgroups: LeaseCgroups, exits: DockerExits, node_id: str) -> None:
        self._api = api
        self._cgroups = cgroups
        self._exits = exits
        self._node_id = node_id

    async def inspect(self, lease_id: str) -> Inspected | None:
        """The lease's container, or None.

        Raises:
            InvalidRequest: one of that name exists and is not ours.
        """
        name = container_name(lease_id)
        try:
            found: Inspected = await self._api.call(self._api.client.inspect_container, name)
        except docker.errors.NotFound:
            return None
        if (found["Config"]["Labels"] or {}).get(LABEL_NODE) != self._node_id:
            raise InvalidRequest(
                f"a container named {name} exists that is not this node's",
                code="name_taken",
                fix=f"docker rm {name}",
            )
        return found

    async def ours(self) -> list[Inspected]:
        """Every container of this node, in any phase."""
        label = f"{LABEL_NODE}={self._node_id}"
        listed = await self._api.call(self._api.client.containers, all=True, filters={"label": label})
        found = [await self.inspect(item["Labels"][LABEL_LEASE]) for item in listed]
        return [inspected for inspected in found if inspected is not None]

    async def create(self, lease_id: str, payload: dict[str, Any]) -> None:
        """Create the lease's container, unless another call of ours just did.

        Raises:
            InvalidRequest: the engine refuses the plan.
        """
        create = self._api.client.create_container_from_config
        try:
            await self._api.call(create, payload, container_name(lease_id))
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise InvalidRequest(
                    f"the engine refuses this container: {error.explanation}", code="bad_container_spec"
                ) from error

    async def start(self, lease_id: str) -> Inspected:
        """Start a created container. A start that fails is told by the container's own ``Error``.

        Raises:
            Unavailable: the engine does not answer, and nothing says whether it started.
        """
        failure: Exception | None = None
        try:
            await self._api.call(self._api.client.start, container_name(lease_id), timeout=START_TIMEOUT_S)
        except (docker.errors.APIError, Unavailable) as error:
            failure = error
        inspected = await self.inspect(lease_id)
        if inspected is None or (inspected["State"]["Status"] == "created" and not inspected["State"]["Error"]):
            raise Unavailable("the engine did not start the container", code="start_unknown") from failure
        return inspected

    async def set_paused(self, lease_id: str, *, paused: bool) -> None:
        """Pause or resume; without effect on a container that is not running, or is so already.

        Raises:
            Unavailable: the engine does not do it.
        """
        call = self._api.client.pause if paused else self._api.client.unpause
        failure: Exception | None = None
        for _ in range(2):
            inspected = await self.inspect(lease_id)
            # Engines answer with different statuses when it is so already: look instead of reading the refusal.
            if inspected is None or not is_running(inspected) or is_paused(inspected) == paused:
                return
            try:
                await self._api.call(call, container_name(lease_id))
            except (docker.errors.APIError, Unavailable) as error:
                failure = error
        raise Unavailable("the engine could not pause or resume the job", code="pause_failed") from failure

    async def end(self, lease_id: str, *, grace_ms: int) -> None:
        """SIGTERM, ``grace_ms`` of time, then SIGKILL; returns when no process of the lease is left.

        Raises:
            Unavailable: processes are left although everything was tried.
        """
        with suppress(Unavailable):  # a kill is tried all the same
            await self.set_paused(lease_id, paused=False)
        if grace_ms > 0:
            await self._signal(lease_id, "SIGTERM")
            with trio.move_on_after(grace_ms / 1000):
                await self.wait_not_running(lease_id)
        await self._signal(lease_id, "SIGKILL")
        await self.confirm_gone(lease_id)
        with trio.move_on_after(KILL_TIMEOUT_S):
            await self.wait_not_running(lease_id)

    async def wait_not_running(self, lease_id: str) -> Inspected | None:
        """Wait until the engine no longer calls it running; None when it is not there (any more)."""
        while True:
            event = self._exits.listen(lease_id)
            inspected = await self.inspect(lease_id)
            if inspected is None or has_ended(inspected):
                return inspected
            await self._exits.wait(event)

    async def confirm_gone(self, lease_id: str) -> None:
        """Wait until the lease's control group is empty, killing what the engine has left in it.

        Raises:
            Unavailable: processes remain.
        """
        with trio.move_on_after(GONE_TIMEOUT_S):
            looks = 0
            while self._cgroups.processes(lease_id):
                looks += 1
                if looks % 25 == 0:
                    self._cgroups.kill(lease_id)
                await trio.sleep(_LOOK_S)
            return
        raise Unavailable(
            f"processes of lease {lease_id} are still running",
            code="job_not_gone",
            fix="restart the container engine",
        )

    async def lacks_program(self, inspected: Inspected) -> bool:
        """Whether an exited container never ran its program, because the image has none of that name."""
        places = program_places(inspected)
        try:
            for place in places:
                if await self._api.exists(f"/containers/{inspected['Id']}/archive", {"path": place}):
                    return False
        except (docker.errors.APIError, Unavailable):
            return False  # nobody can tell
        return bool(places)

    async def remove(self, lease_id: str) -> None:
        """Remove the container and its anonymous volumes; running or not."""
        name = container_name(lease_id)
        for _ in range(50):
            try:
                await self._api.call(self._api.client.remove_container, name, v=True, force=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != 409:  # 409: the engine is at it already
                    raise Unavailable("the engine could not remove a container", code="remove_failed") from error
                await trio.sleep(0.1)
        raise Unavailable("the engine does not finish removing a container", code="remove_failed")

    async def _signal(self, lease_id: str, signal: str) -> None:
        # 404, 409: not there or not running. No answer: the control group is asked next, and is killed by hand.
        with suppress(docker.errors.APIError, Unavailable):
            await self._api.call(self._api.client.kill, container_name(lease_id), signal, timeout=KILL_TIMEOUT_S)
