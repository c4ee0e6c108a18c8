"""The journal's file among other files: private, owned by one process, with room kept back for a full disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from market.errors import InvalidRequest


@contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Hold the journal for this process, and make its file if there is none, readable by its owner only.

    The lock is on a file of its own: closing any other handle to the database would drop SQLite's own locks. The
    kernel lets go of it when the process dies, however it dies.

    Raises:
        InvalidRequest: ``already_running``: another process (or this one) has it; ``journal_unreachable``.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(_beside(path, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unreachable(path, error) from None
    try:
        _lock(lock, path)
        _make_private(path)
        yield
    finally:
        os.close(lock)


class Ballast:
    """A file of dead weight: given away when the disk is full, it lets the last vouchers in."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = ballast_path(path)
        self._size = size
        self._in_place = False

    def fill(self) -> bool:
        """Put the weight (back) in place, unless the disk is so full that this would do harm. Whether it is there."""
        self._in_place = self._in_place or self._size == 0 or self._path.exists() or self._put()
        return self._in_place

    def release(self) -> bool:
        """Give the room away. False when there is none (any more)."""
        self._in_place = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _put(self) -> bool:
        try:
            free = os.statvfs(self._path.parent)
            if free.f_bavail * free.f_frsize < 2 * self._size:
                return False
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            with suppress(OSError):
                self._path.unlink()
            return False
        finally:
            os.close(handle)
        return True


def ballast_path(journal: Path) -> Path:
    """Where the room that is kept back for a journal lies."""
    return _beside(journal, ".ballast")


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
        raise InvalidRequest(
            f"another process (pid {holder}) is using this journal",
            code="already_running",
            fix="stop the other node, or give this one a data directory of its own",
            where=str(path),
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, b"%d\n" % os.getpid(), 0)


def _make_private(path: Path) -> None:
    """Make the file before SQLite does: it copies the mode to the files it puts beside it."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # Or the new file itself may be gone after a power cut.
        finally:
            os.close(folder)
    except OSError as error:
        raise _unreachable(path, error) from None


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _unreachable(path: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(
        f"the journal cannot be opened: {error.strerror}",
        code="journal_unreachable",
        fix="check the data directory and its permissions",
        where=str(path),
    )
