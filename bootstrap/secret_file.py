"""Files that hold secrets: made whole or not at all, never overwritten by chance, never readable by others.

A file with wider permissions is refused, not quietly repaired: it may already have been copied. Nothing here
ever prints what a file holds.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from market.errors import InvalidRequest


def read_secret(path: Path, *, limit: int) -> bytes:
    """The content of a secret file.

    Raises:
        FileNotFoundError: there is none.
        InvalidRequest: not an ordinary file, longer than ``limit`` bytes, or others may read or write it.
    """
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise InvalidRequest("a secret must be in an ordinary file", code="bad_key_file", where=str(path))
        if mode & 0o077:
            raise InvalidRequest(
                f"others may open this secret file (mode {stat.S_IMODE(mode):04o})",
                code="key_file_open",
                fix=f"if nobody can have copied it: chmod 600 {path}",
                where=str(path),
            )
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidRequest(
            f"the file is larger than the {limit} bytes a secret of this kind has",
            code="bad_key_file",
            fix="restore it from a backup, or move it away",
            where=str(path),
        )
    return data


def create_secret(path: Path, data: bytes) -> bool:
    """Make the file with mode 0600, whole or not at all. ``False``: it was there already and is untouched."""
    temporary = _write_beside(path, data)
    try:
        # A hard link is the one step that both refuses to overwrite and never shows a half-written file.
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    _sync_folder(path.parent)
    return True


def replace_secret(path: Path, data: bytes) -> None:
    """Replace the file in one step, mode 0600: a crash leaves the old content or the new, never half of
    one."""
    temporary = _write_beside(path, data)
    try:
        os.replace(temporary, path)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _write_beside(path: Path, data: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # O_EXCL, mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(temporary)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
