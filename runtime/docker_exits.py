"""Hear from the engine when containers of this node end, on one connection for all of them.

An event is only a wake-up: what happened is always read from the container itself, and waiters also look by
themselves from time to time, because events are lost while the engine restarts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress

import docker.errors
import trio

from market.errors import Unavailable
from runtime.container_plan import LABEL_LEASE, LABEL_NODE
from runtime.docker_api import DockerApi

_RETRY_S = 1.0
LOOK_EVERY_S = 2.0
MAX_LINE = 1024 * 1024


class DockerExits:
    """Wakes those who wait for a lease's container to end."""

    def __init__(self, api: DockerApi, node_id: str) -> None:
        self._api = api
        self._node_id = node_id
        self._waiters: dict[str, trio.Event] = {}

    async def run(self) -> None:
        """Listen until cancelled, reconnecting when the engine comes back."""
        filters = json.dumps({"type": ["container"], "label": [f"{LABEL_NODE}={self._node_id}"]})
        while True:
            reader = self._reader(trio.lowlevel.current_trio_token())
            with suppress(Unavailable, docker.errors.APIError):
                await self._api.consume("/events", {"filters": filters}, reader)
            await trio.sleep(_RETRY_S)

    def listen(self, lease_id: str) -> trio.Event:
        """An event to wait on. Listen first, then look, then wait: an end in between is not missed."""
        return self._waiters.setdefault(lease_id, trio.Event())

    async def wait(self, event: trio.Event) -> None:
        """Return at the next sign that something happened, or when it is time to look anyway."""
        with trio.move_on_after(LOOK_EVERY_S):
            await event.wait()

    def wake(self, lease_id: str) -> None:
        if (event := self._waiters.pop(lease_id, None)) is not None:
            event.set()

    def _reader(self, token: trio.lowlevel.TrioToken) -> Callable[[Iterator[bytes]], None]:
        def read(chunks: Iterator[bytes]) -> None:
            pending = b""
            for chunk in chunks:
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > MAX_LINE:
                    return
                for line in lines:
                    if lease_id := _ended(line):
                        token.run_sync_soon(self.wake, lease_id)

        return read


def _ended(line: bytes) -> str | None:
    try:
        event = json.loads(line or b"{}")
        if event.get("Action") in ("die", "oom", "destroy", "kill"):
            return str(event["Actor"]["Attributes"][LABEL_LEASE])
    except (ValueError, KeyError, TypeError):
        pass
    return None
