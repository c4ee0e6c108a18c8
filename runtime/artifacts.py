"""Tar files from strangers: what may be in them, how they are unpacked, and how inputs are re-owned for a job.

Both sides use this: a provider before it hands inputs to a container and after it takes outputs out, a requester before
it unpacks outputs on its own disk. Nothing may be written outside the chosen directory, and nothing may grow beyond
the stated limits, whatever the archive says about itself. Compression is not read at all: a megabyte could hold a
terabyte.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from msgspec import Struct

from market.errors import InvalidRequest

CHUNK = 256 * 1024
_LONGEST_READ = 1024 * 1024
"""No header of an honest archive is longer; a longer one would be read into memory in one piece."""
_LONGEST_LISTING = 32 * 1024 * 1024
"""All names of one archive together: they are held in memory while it is judged."""
_LONGEST_PART = 255
"""Bytes of one name: what file systems take."""
_BROKEN = (tarfile.TarError, ValueError, EOFError, OverflowError, RecursionError)


class TarLimits(Struct, frozen=True, kw_only=True):
    """Bounds of an archive: entries of any kind, and bytes of all files together."""

    max_entries: int = 100_000
    max_bytes: int


class TarSummary(Struct, frozen=True, kw_only=True):
    """What a checked archive holds."""

    entries: int
    bytes: int


class _BoundedFile:
    """A file that refuses long or negative reads, so that no header can make the tar reader swallow memory."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_READ:
            raise tarfile.ReadError("a header claims an absurd length")
        return self._raw.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()


class _Judge:
    """Sees the members of one archive in order and raises at the first that breaks a rule."""

    def __init__(self, limits: TarLimits) -> None:
        self.limits = limits
        self.entries = 0
        self.bytes = 0
        self._listing = 0
        self._links: set[str] = set()
        self._files: set[str] = set()

    def admit(self, member: tarfile.TarInfo) -> str:
        """Check the next member and return its cleaned name ("" for the top directory)."""
        self.entries += 1
        if self.entries > self.limits.max_entries:
            raise _refuse(f"more than {self.limits.max_entries} entries", "archive_too_large")
        name = _clean(member.name)
        self._listing += len(member.name)
        if self._listing > _LONGEST_LISTING:
            raise _refuse("the names alone fill too much", "archive_too_large")
        if any(str(parent) in self._links for parent in Path(name).parents):
            raise _refuse(f"{member.name!r} lies behind a link", "link_out_of_tree")
        if member.issym():
            self._admit_symlink(name, member.linkname)
        elif member.islnk():
            if _clean(member.linkname) not in self._files:
                raise _refuse(f"{member.name!r} is a hard link to no file of this archive", "link_out_of_tree")
        elif member.isreg():
            self._admit_file(name, member)
        elif not member.isdir():
            raise _refuse(f"{member.name!r} is a device, pipe or other special file", "special_file")
        return name

    def _admit_symlink(self, name: str, target: str) -> None:
        parts = target.split("/")
        up = 0
        while up < len(parts) and parts[up] == "..":
            up += 1
        # ".." is sound only at the front: behind a name it would be taken from wherever that name's link leads.
        if not target or target.startswith("/") or ".." in parts[up:] or up > name.count("/") or not _storable(target):
            raise _refuse(f"link {name!r} leads out of the tree", "link_out_of_tree")
        self._links.add(name)

    def _admit_file(self, name: str, member: tarfile.TarInfo) -> None:
        if member.issparse() or member.size < 0 or not name:
            raise _refuse(f"{member.name!r} is a sparse or malformed file", "special_file")
        self.bytes += member.size
        if self.bytes > self.limits.max_bytes:
            raise _refuse(f"more than {self.limits.max_bytes} bytes", "archive_too_large")
        self._files.add(name)


def check_tar(tar_path: str | Path, limits: TarLimits) -> TarSummary:
    """Read a whole archive and judge it; writes nothing.

    Raises:
        InvalidRequest: an unsafe name or link, a special file, too many entries or bytes, or not a tar file.
    """
    judge = _Judge(limits)
    with _members(tar_path) as (archive, raw):
        for member in _each(archive):
            judge.admit(member)
        _require_end(raw)
    return TarSummary(entries=judge.entries, bytes=judge.bytes)


def unpack(tar_path: str | Path, directory: str | Path, limits: TarLimits) -> TarSummary:
    """Unpack into a new or empty directory, as plain files and directories of the current user.

    Raises:
        InvalidRequest: as :func:`check_tar`, before anything is written; or the directory is not empty.
    """
    summary = check_tar(tar_path, limits)
    top = Path(directory)
    top.mkdir(parents=True, exist_ok=True)
    if any(top.iterdir()):
        raise InvalidRequest(f"{top} is not empty", code="directory_not_empty", fix="name an empty directory")
    judge = _Judge(limits)
    with _members(tar_path) as (archive, _):
        for member in _each(archive):
            _write(archive, member, top / judge.admit(member), top)
    return summary


def reowned(tar_path: str | Path, *, below: str, owner: int) -> Iterator[bytes]:
    """The bytes of a checked archive again, every entry moved under ``below`` and given to ``owner``.

    Set-id bits are dropped. Call :func:`check_tar` first: this function trusts the names.
    """
    with _members(tar_path) as (archive, _):
        for directory in _with_parents(below):
            yield _header(_directory(directory), owner)
        for member in _each(archive):
            name = _clean(member.name)
            if not name:
                continue
            member.name = f"{below}/{name}".strip("/")
            if member.islnk():
                member.linkname = f"{below}/{_clean(member.linkname)}".strip("/")
            yield _header(member, owner)
            if member.isreg():
                yield from _content(archive, member)
    yield b"\0" * (2 * tarfile.BLOCKSIZE)


def pack(source: str | Path, tar_path: str | Path, *, name: str = "") -> TarSummary:
    """Write a file or a directory's content as an archive that is the same for the same content.

    ``name`` is what a single file is called in the archive; its own name when empty.

    Raises:
        InvalidRequest: the source does not exist or holds special files.
    """
    top = Path(source)
    if not top.exists():
        raise InvalidRequest(f"{source} does not exist", code="no_such_file", where=str(source))
    found = (
        [(top, name or top.name)] if top.is_file() else [(p, str(p.relative_to(top))) for p in sorted(top.rglob("*"))]
    )
    with tarfile.open(tar_path, "w", format=tarfile.PAX_FORMAT) as archive:
        for path, entry in found:
            member = archive.gettarinfo(str(path), entry)
            if member is None or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
                raise InvalidRequest(f"{path} is a special file", code="special_file", where=str(path))
            member.uid = member.gid = member.mtime = 0
            member.uname = member.gname = ""
            with open(path, "rb") if member.isreg() else open(os.devnull, "rb") as content:
                archive.addfile(member, content)
    return check_tar(tar_path, TarLimits(max_bytes=2**63))


@contextmanager
def _members(tar_path: str | Path) -> Iterator[tuple[tarfile.TarFile, IO[bytes]]]:
    with open(tar_path, "rb") as raw:
        try:
            with tarfile.open(fileobj=_BoundedFile(raw), mode="r:") as archive:  # type: ignore[call-overload]
                yield archive, raw
        except _BROKEN as error:
            raise _refuse(f"not a sound tar file ({type(error).__name__})", "bad_archive") from error


def _each(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined] # the reader keeps every header it has seen: a hundred megabytes for a full archive
        yield member


def _require_end(raw: IO[bytes]) -> None:
    """An archive cut off at an entry's border reads as a shorter one; only its end mark tells."""
    raw.seek(0, os.SEEK_END)
    size = raw.tell()
    raw.seek(max(0, size - tarfile.BLOCKSIZE))
    if size < 2 * tarfile.BLOCKSIZE or raw.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError("no end mark")


def _clean(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not _storable(name):
        raise _refuse(f"unsafe name {name[:100]!r}", "unsafe_name")
    return "/".join(parts)


def shown(name: str) -> str:
    """A name from an archive as it may be shown, logged or sent on.

    On disk a file keeps the very bytes it was given. Bytes that are no UTF-8 are in the name as lone surrogates, which
    no message can hold; control characters would speak to the reader's terminal. Both are escaped.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in name)


def _storable(name: str) -> bool:
    """Whether a file system takes the name as it is."""
    try:
        raw = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character that never was a byte
        return False
    return len(raw) <= 4096 and b"\0" not in raw and all(len(part) <= _LONGEST_PART for part in raw.split(b"/"))


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path, top: Path) -> None:
    if path == top:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(exist_ok=True)
        return
    if path.is_symlink() or path.is_file():
        path.unlink()  # the later entry of one name wins, and an open must never follow an earlier link
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        os.link(top / _clean(member.linkname), path, follow_symlinks=False)
    else:
        mode = 0o700 if member.mode & stat.S_IXUSR else 0o600
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as out:
            for data in _content(archive, member, padded=False):
                out.write(data)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, *, padded: bool = True) -> Iterator[bytes]:
    source = archive.extractfile(member)
    left = member.size
    while source is not None and left > 0:
        data = source.read(min(CHUNK, left))
        if not data:
            raise tarfile.ReadError("unexpected end of data")
        left -= len(data)
        yield data
    if padded and member.size % tarfile.BLOCKSIZE:
        yield b"\0" * (tarfile.BLOCKSIZE - member.size % tarfile.BLOCKSIZE)


def _header(member: tarfile.TarInfo, owner: int) -> bytes:
    member.uid = member.gid = owner
    member.uname = member.gname = ""
    member.mode = (member.mode & 0o777) | (0o700 if member.isdir() else 0o400)
    member.mtime = max(0, int(member.mtime))
    member.pax_headers = {}
    return member.tobuf(tarfile.PAX_FORMAT)


def _with_parents(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member


def _refuse(message: str, code: str) -> InvalidRequest:
    return InvalidRequest(message, code=code)
