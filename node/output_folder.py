"""Puts a job's output on the user's disk: unpacked aside and checked first, then moved in file by file.

The archive comes from a stranger. It is unpacked only into a fresh folder of ours; into the user's folder go finished
files by rename, never through a link that lies there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from market.errors import InvalidRequest
from node import wire
from runtime.artifacts import TarLimits, unpack


def place_output(tar: Path, staging: Path, destination: Path, *, source: str) -> list[str]:
    """Unpack ``tar`` and move its files into ``destination``; returns the paths written, sorted.

    ``source`` is the path inside the job: of a folder, the content is placed; a single file is placed as itself.
    Files of the same name are replaced; everything else in the folder stays.

    Raises:
        InvalidRequest: the archive is unsafe, or the destination is not a folder one can write to.
    """
    shutil.rmtree(staging, ignore_errors=True)
    unpack(tar, staging, TarLimits(max_bytes=wire.MAX_TRANSFER))
    try:
        return sorted(str(path) for path in _move_all(_top(staging, Path(source).name), destination))
    except OSError as error:
        raise InvalidRequest(
            f"cannot write outputs to {destination}: {error.strerror}", code="output_folder", where=str(destination)
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _top(staging: Path, name: str) -> Path:
    """Engines pack a folder under its own name; what the user asked for is what is in it."""
    folder = staging / name
    alone = [path.name for path in staging.iterdir()] == [name]
    return folder if alone and folder.is_dir() and not folder.is_symlink() else staging


def _move_all(staging: Path, destination: Path) -> list[Path]:
    destination.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for folder, subfolders, files in os.walk(staging):
        target = destination / Path(folder).relative_to(staging)
        if target.is_symlink():
            raise InvalidRequest(f"{target} is a link; outputs are not written through links", code="output_folder")
        target.mkdir(exist_ok=True)
        links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            _move(Path(folder) / name, target / name)
            written.append(target / name)
    return written


def _move(source: Path, target: Path) -> None:
    """Rename within one disk; across disks copy beside the target first, so that a reader never sees half a file."""
    try:
        os.replace(source, target)
    except OSError:
        beside = target.with_name(target.name + ".part")
        shutil.copy2(source, beside, follow_symlinks=False)
        os.replace(beside, target)
