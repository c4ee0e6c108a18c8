"""The root file system of the job base image, written as a tar from the Python interpreter that runs this file.

It holds the interpreter, its standard library, every shared library they load and a few shell tools; nothing of
site-packages and nothing of this project. No ``LD_*`` variable is needed (images that set one are suspect to every
provider): libraries lie in the directory where this machine's loader looks by itself. The same interpreter gives the
same bytes.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from market.errors import Unavailable

PREFIX = "/usr/local"
_TOOLS = ("sh", "cat", "ls", "sleep", "env", "true", "head", "id")
_LEFT_OUT = frozenset({"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"})
_LEFT_OUT_TOO = frozenset({"site-packages", "dist-packages", "pydoc_data"})
_DIRECTORIES = {"/tmp": 0o1777, "/proc": 0o755, "/sys": 0o755, "/dev": 0o755, "/etc": 0o755, "/work": 0o777}
_TEXTS = {
    "/etc/passwd": "root:x:0:0:root:/:/bin/sh\njob:x:65534:65534:job:/work:/bin/sh\n",
    "/etc/group": "root:x:0:\njob:x:65534:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_LOADED_LATE = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")
"""Libraries that programs open by name while running, so that no list of needed libraries shows them."""
_PT_INTERP = 3


class _Tree:
    """A tar being written as a root file system: parents made on the way, nothing twice, no dates of today."""

    def __init__(self, out: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed in close()
        self._seen = {"", "/"}

    def close(self) -> None:
        self._tar.close()

    def directory(self, path: str, mode: int = 0o755) -> None:
        if path not in self._seen:
            self.directory(os.path.dirname(path))
            self._add(path, tarfile.DIRTYPE, mode)

    def text(self, path: str, content: str) -> None:
        self.directory(os.path.dirname(path))
        self._add(path, tarfile.REGTYPE, 0o644, content=io.BytesIO(content.encode()), size=len(content))

    def link(self, path: str, target: str) -> None:
        self.directory(os.path.dirname(path))
        self._add(path, tarfile.SYMTYPE, 0o777, target=target)

    def file(self, source: str, path: str) -> None:
        """Copy a file of this machine. Its date stays: compiled modules are valid only with their source's date."""
        if path in self._seen:
            return
        self.directory(os.path.dirname(path))
        found = os.stat(source)
        mode = 0o755 if found.st_mode & stat.S_IXUSR else 0o644
        with open(source, "rb") as content:
            self._add(path, tarfile.REGTYPE, mode, content=content, size=found.st_size, mtime=int(found.st_mtime))

    def _add(
        self,
        path: str,
        kind: bytes,
        mode: int,
        *,
        content: IO[bytes] | None = None,
        size: int = 0,
        mtime: int = 0,
        target: str = "",
    ) -> None:
        if path in self._seen:
            return
        self._seen.add(path)
        entry = tarfile.TarInfo(path.strip("/"))
        entry.type, entry.mode, entry.size, entry.mtime, entry.linkname = kind, mode, size, mtime, target
        self._tar.addfile(entry, content)


def write_rootfs(out: IO[bytes]) -> None:
    """Write the root file system as a tar.

    Raises:
        Unavailable: this interpreter is not a dynamically linked 64-bit ELF program.
    """
    program, version = os.path.realpath(sys.executable), "python{}.{}".format(*sys.version_info)
    loader = _loader_of(program)
    tools = {name: os.path.realpath(path) for name in _TOOLS if (path := shutil.which(name))}
    tree = _Tree(out)
    for path, mode in _DIRECTORIES.items():
        tree.directory(path, mode)
    for path, content in _TEXTS.items():
        tree.text(path, content)
    tree.file(program, f"{PREFIX}/bin/{version}")
    for name in ("python3", "python"):
        tree.link(f"{PREFIX}/bin/{name}", version)
    for name, path in tools.items():
        tree.file(path, f"/bin/{name}")
    tree.file(os.path.realpath(loader), loader)
    modules = [path for path in _standard_library() if path.endswith(".so")]
    for name, path in sorted(_libraries(loader, [program, *modules, *tools.values()]).items()):
        tree.file(os.path.realpath(path), name)
    top = sysconfig.get_path("stdlib")
    for path in _standard_library():
        tree.file(path, f"{PREFIX}/lib/{version}{path[len(top) :]}")
    tree.close()


def _standard_library() -> Iterator[str]:
    """Files of the standard library, in a fixed order, without tests, packages of others and links."""
    top = sysconfig.get_path("stdlib")
    for where, names, files in os.walk(top):
        names[:] = sorted(n for n in names if n not in _LEFT_OUT | _LEFT_OUT_TOO and not n.startswith("config-"))
        for name in sorted(files):
            path = os.path.join(where, name)
            unwanted = name.endswith((".a", ".opt-1.pyc", ".opt-2.pyc")) or "_test" in name or "tkinter" in name
            if not unwanted and not os.path.islink(path):
                yield path


def _libraries(loader: str, programs: list[str]) -> dict[str, str]:
    """Path in the image → library on this machine, for everything the programs load.

    All go where the C library was found, which is a directory this loader searches without being told.
    """
    found: dict[str, str] = {}
    for program in programs:
        # The loader's own listing is what ldd prints, and runs nothing of the program.
        listed = subprocess.run([loader, "--list", program], capture_output=True, text=True, check=False)
        found.update(re.findall(r"(\S+) => (/\S+)", listed.stdout))
    libc = next((path for name, path in found.items() if name.startswith("libc.so")), None)
    if libc is None:
        raise Unavailable("this interpreter is not linked to a C library", code="no_job_image")
    home = os.path.dirname(libc)
    for name in _LOADED_LATE:
        if (late := Path(home, name)).exists():
            found.setdefault(name, str(late))
    return {f"{home}/{name}": path for name, path in found.items()}


def _loader_of(program: str) -> str:
    """The path an ELF program names as its loader."""
    with open(program, "rb") as file:
        head = file.read(1 << 16)
    if head[:5] == b"\x7fELF\x02":
        (table,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        for index in range(count):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", head, table + index * size)
            if kind == _PT_INTERP:
                return head[offset : offset + length].rstrip(b"\0").decode()
    raise Unavailable(
        "no job image can be made from this interpreter",
        code="no_job_image",
        fix="run the node with a dynamically linked 64-bit Python",
    )
