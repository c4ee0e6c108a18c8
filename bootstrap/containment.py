"""Keeps what one stranger provokes from ending the node: the last net under every task that peers feed.

A task that raises ends its nursery, and so the process. Whoever knows how to handle an error must do it nearer to
its cause; what arrives here is a fault of ours that somebody found, and costs that somebody's task only.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

_log = logging.getLogger(__name__)
_AGAIN_S = 1.0


async def contained(act: Callable[..., Awaitable[object]], *args: object) -> None:
    """Do it; whatever it raises is logged and ends here. Cancellation passes."""
    try:
        await act(*args)
    except Exception:  # noqa: BLE001 - see above
        _log.exception("%s failed", getattr(act, "__qualname__", act))


async def contained_forever(act: Callable[..., Awaitable[object]], *args: object) -> None:
    """Do what has no end, and begin it again a second after it failed."""
    while True:
        await contained(act, *args)
        await trio.sleep(_AGAIN_S)
