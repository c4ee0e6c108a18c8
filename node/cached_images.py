"""Keeps the offers saying which images this machine has: a job whose image is here starts without waiting for it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import trio

from bootstrap.containment import contained
from market.errors import Unavailable
from node.machine import Machine
from runtime.ports import ContainerEngine

log = logging.getLogger(__name__)

MAX_IMAGES = 16
"""As many as fit into an offer."""
REFRESH_S = 60.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


class CachedImages:
    """Asks the engine from time to time what is there.

    Only digests are shown: the names its owner gave to images of his own are nobody's business.

    Args:
        changed: called when the offers must be posted anew.
    """

    def __init__(self, engine: ContainerEngine, machines: list[Machine], changed: Callable[[], None]) -> None:
        self._engine = engine
        self._machines = machines
        self._changed = changed
        self._is_away = False

    async def watch_forever(self) -> None:
        """Look now, and every :data:`REFRESH_S`."""
        while True:
            await contained(self.refresh)
            await trio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Look once. An engine that does not answer changes nothing: its images are most likely still there."""
        try:
            present = await self._engine.images()
        except Unavailable as error:
            if not self._is_away:
                log.warning("which images are here is not known: %s", error.message)
            self._is_away = True
            return
        self._is_away = False
        images = digests_of(present)
        if any(machine.images != images for machine in self._machines):
            for machine in self._machines:
                machine.images = images
            self._changed()


def digests_of(present: dict[str, str]) -> tuple[str, ...]:
    """The digests to show: the first :data:`MAX_IMAGES` that the engine names; Docker begins with the newest.

    Sorted, so that the same images always make the same offer.
    """
    digests = [digest for digest in present if _DIGEST.fullmatch(digest)]
    return tuple(sorted(digests[:MAX_IMAGES]))
