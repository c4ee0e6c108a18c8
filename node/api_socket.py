"""The socket of the local API: one per home folder, reachable by its owner only.

A unix socket in a private folder needs no token and no browser can reach it. It is made under another name and moved
into place, so that it is never there with wider permissions and a stale one of a crashed node is replaced in one step.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from market.errors import InvalidRequest

MAX_PATH = 100
"""A unix socket's path has 108 bytes on Linux; the rest is for the temporary name."""
_BACKLOG = 64


@contextmanager
def listening_socket(path: Path) -> Iterator[socket.socket]:
    """A listening socket at ``path`` with mode 0600, removed at the end.

    A lock file beside it, held as long as the socket, tells a running node from the leftovers of a crashed one.

    Raises:
        InvalidRequest: ``already_running``, or the path cannot be used.
    """
    if len(os.fsencode(path)) > MAX_PATH:
        raise InvalidRequest(
            f"the socket's path is longer than {MAX_PATH} bytes",
            code="bad_socket_path",
            fix="set a short one: api_socket under [node], or CFAB_NODE_API_SOCKET",
            where=str(path),
        )
    lock = _lock(path)
    try:
        _refuse_foreign(path)
        listener = _bind(path)
        try:
            yield listener
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)
            listener.close()
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise _already_running(path) from None
        raise _unusable(path, error) from None
    return lock


def _refuse_foreign(path: Path) -> None:
    """Somebody may listen there without our lock: another program, or a node whose lock file was deleted."""
    if not path.is_socket():
        if path.exists():
            raise InvalidRequest(
                "something that is no socket lies in the socket's place", code="bad_socket_path", where=str(path)
            )
        return
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(str(path))
        raise _already_running(path)


def _bind(path: Path) -> socket.socket:
    temporary = f"{path}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        listener.bind(temporary)
        os.chmod(temporary, 0o600)  # before listen(): nobody can have connected with the wider mode
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        os.rename(temporary, path)
    except OSError as error:
        listener.close()
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise _unusable(path, error) from None
    return listener


def _already_running(path: Path) -> InvalidRequest:
    return InvalidRequest(
        "a node is already running in this home",
        code="already_running",
        fix="stop it with 'cfab down', or choose another home with --home",
        where=str(path),
    )


def _unusable(path: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(
        f"the socket cannot be made: {error.strerror}",
        code="bad_socket_path",
        fix="choose another place: api_socket under [node], or CFAB_NODE_API_SOCKET",
        where=str(path),
    )
