"""libp2p's service manager with a net under its tasks: in the library one that raises ends the service, and so the
host."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from bootstrap.containment import contained, contained_forever


class ContainedTasks:
    """A service's manager as the service itself sees it; all but the starting of tasks is the library's."""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def run_task(self, act: Callable[..., Awaitable[object]], *args: Any, **options: Any) -> None:
        """Start a task; one that fails is logged."""
        self._manager.run_task(contained, act, *args, **options)

    def run_daemon_task(self, act: Callable[..., Awaitable[object]], *args: Any, name: str | None = None) -> None:
        """Start a task without end; one that fails begins again."""
        self._manager.run_daemon_task(contained_forever, act, *args, name=name)
