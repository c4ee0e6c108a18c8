"""Puts a job's output on the user's disk: unpacked aside and checked first, then moved in file by file.

The archive comes from a stranger, and the folder may be one the user works in. So it is unpacked only into a fresh
folder of ours; from there finished files go into the user's folder by rename, never through a link that lies there,
never in the place of a file that no job put there, and never under a hidden name: ``.git/hooks`` and ``.envrc`` are run
by whoever works in that folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from msgspec import Struct

from market.errors import InvalidRequest
from node import wire
from node.placed_files import PlacedFiles
from runtime.artifacts import TarLimits, shown, unpack

_HIDDEN = "is a hidden name, which a job may not put into a folder of yours"


class Placed(Struct, frozen=True, kw_only=True):
    """What was written, how many bytes of content, and what was left in the archive and why. All fit to be shown."""

    files: tuple[str, ...]
    problems: tuple[str, ...]
    size: int = 0


def place_output(tar: Path, staging: Path, destination: Path, *, source: str, records: Path) -> Placed:
    """Unpack ``tar`` and move its files into ``destination``.

    ``source`` is the path inside the job: of a folder, the content is placed; a single file is placed as itself.
    A file that an earlier job put there is replaced; everything else in the folder stays. Programs stay programs only
    in a folder that was made for outputs. ``records`` is where :class:`PlacedFiles` are kept.

    Raises:
        InvalidRequest: the archive is unsafe or cannot be unpacked, or the destination is not a folder one can write
            to. Trying again would not help.
    """
    shutil.rmtree(staging, ignore_errors=True)
    asked = PurePosixPath(source).name
    try:
        unpack(tar, staging, TarLimits(max_bytes=wire.MAX_TRANSFER))
        return _Placing(destination, PlacedFiles(records, destination), asked).place_all(_top(staging, asked))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidRequest(
            f"cannot write outputs to {shown(str(destination))}: {reason}",
            code="output_folder",
            where=str(destination),
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _top(staging: Path, name: str) -> Path:
    """Engines pack a folder under its own name; what the user asked for is what is in it."""
    folder = staging / name
    alone = [path.name for path in staging.iterdir()] == [name]
    return folder if alone and folder.is_dir() and not folder.is_symlink() else staging


class _Placing:
    """One archive's way into one folder: everything is judged and written down first, then moved."""

    def __init__(self, destination: Path, record: PlacedFiles, asked: str) -> None:
        self._destination = destination
        self._record = record
        self._asked = asked
        self._new: set[Path] = set()
        self._files: list[str] = []
        self._problems: list[str] = []
        self._size = 0

    def place_all(self, staging: Path) -> Placed:
        if not os.path.lexists(self._destination):
            self._record.make()
        elif not self._destination.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        names = self._judge(staging)
        for name in names:
            self._record.add(str(name), staging / name)
        self._record.save({str(name) for name in names})
        for name in names:
            self._place(staging / name, name)
        return Placed(files=tuple(sorted(self._files)), problems=tuple(self._problems), size=self._size)

    def _judge(self, staging: Path) -> list[Path]:
        """The names, relative to the folder, of all that may go in. Makes the folders they need."""
        admitted: list[Path] = []
        for folder, subfolders, files in os.walk(staging):
            inside = Path(folder).relative_to(staging)
            links = {name for name in subfolders if (Path(folder) / name).is_symlink()}
            admitted += [inside / name for name in sorted({*files, *links}) if self._may_place(inside / name)]
            subfolders[:] = [name for name in sorted(subfolders) if name not in links and self._enter(inside / name)]
        return admitted

    def _may_place(self, name: Path) -> bool:
        if self._record.holds(str(name)):
            return True
        alone_as_asked = str(name) == self._asked
        if self._is_hidden(name) and not alone_as_asked:
            return self._leave_out(name, _HIDDEN)
        if os.path.lexists(self._destination / name):
            return self._leave_out(name, "is there already, and no job put it there as it is now")
        return True

    def _enter(self, name: Path) -> bool:
        target = self._destination / name
        if self._is_hidden(name) and not self._record.holds_below(str(name)):
            return self._leave_out(name, _HIDDEN)
        if target.is_symlink():
            return self._leave_out(name, "is a link; outputs are not written through links")
        if target.is_dir():
            return True
        if os.path.lexists(target):
            return self._leave_out(name, "is a file where the output has a folder")
        target.mkdir()
        self._new.add(name)
        return True

    def _is_hidden(self, name: Path) -> bool:
        """Also below the top, unless the folder it goes into is new: what is hidden there is part of nothing yet."""
        return name.name.startswith(".") and name.parent not in self._new

    def _place(self, source: Path, name: Path) -> None:
        target = self._destination / name
        try:
            if not self._record.made and not source.is_symlink():
                source.chmod(0o600)
            _move(source, target)
        except OSError as error:
            self._leave_out(name, f"cannot be written: {error.strerror}")
        else:
            self._files.append(shown(str(target)))
            self._size += target.lstat().st_size

    def _leave_out(self, name: Path, why: str) -> bool:
        self._problems.append(f"{shown(str(self._destination / name))} {why}")
        return False


def _move(source: Path, target: Path) -> None:
    """Rename within one disk; across disks copy beside the target first, so that a reader never sees half a file."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        aside = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=target.parent))
        try:
            shutil.copy2(source, aside / "copy", follow_symlinks=False)
            os.replace(aside / "copy", target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
