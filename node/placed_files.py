"""Which files in a user's folder came out of jobs, so that a later output may replace these and nothing else.

One record per folder. A file counts as ours while it is as we left it: once the user has changed it, it is theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path


class PlacedFiles:
    """What jobs have put into ``destination``.

    Names are relative to the folder, and may hold bytes that are no UTF-8.
    """

    def __init__(self, records: Path, destination: Path) -> None:
        self._destination = destination
        where = os.path.abspath(destination)
        self._path = records / hashlib.sha256(os.fsencode(where)).hexdigest()[:32]
        self._files: dict[str, list[int]] = {}
        self._made = 0
        # A record that cannot be read costs a replacement, never a file.
        with suppress(OSError, ValueError, KeyError, TypeError):
            plain = json.loads(self._path.read_text(encoding="ascii"))
            self._made, self._files = int(plain["made"]), dict(plain["files"])

    @property
    def made(self) -> bool:
        """Whether the folder that stands there is one that was made for outputs."""
        with suppress(OSError):
            return self._destination.stat().st_ino == self._made
        return False

    def make(self) -> None:
        """Make the folder; whatever is remembered of an earlier one of the same name is void.

        Raises:
            OSError: it cannot be made.
        """
        self._destination.mkdir(parents=True)
        self._made, self._files = self._destination.stat().st_ino, {}

    def holds(self, name: str) -> bool:
        """Whether the file of that name is one that a job put there, unchanged since."""
        with suppress(OSError):
            return name in self._files and self._files[name] == _identity(self._destination / name)
        return False

    def holds_below(self, folder: str) -> bool:
        """Whether such a file lies in that folder or below it."""
        return any(name.startswith(f"{folder}/") and self.holds(name) for name in self._files)

    def add(self, name: str, source: Path) -> None:
        """``source`` is about to be put there under ``name``, keeping its size and time."""
        self._files[name] = _identity(source)

    def save(self, moving: set[str]) -> None:
        """Make it durable. Call before the first file moves: after a crash our own files must not look like others'.

        Raises:
            OSError: the disk is full.
        """
        kept = {name: was for name, was in self._files.items() if name in moving or self.holds(name)}
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"made": self._made, "files": kept}), encoding="ascii")
        os.replace(fresh, self._path)


def _identity(path: Path) -> list[int]:
    found = path.lstat()
    return [found.st_size, found.st_mtime_ns]
