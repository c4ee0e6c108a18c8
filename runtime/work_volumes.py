"""A job's ``/work``: a file system of its own, of exactly the size that was bought, that survives the job's exit.

One preallocated file per lease with ext4 in it, mounted through a loop device. It needs root. Preallocated, because a
sparse file would turn a full host disk into I/O errors inside a job that has paid for its space. Nothing outside this
module's own directory is ever mounted, unmounted or deleted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from market.errors import Unavailable
from runtime.container_plan import JOB_UID, MIB, WorkMount, checked_lease_id

DISK_FLOOR_MIB = 1024
"""Left free on the host whatever is sold, so that the journal can always be written."""
_STEP_TIMEOUT_S = 60
_TOOLS = ("mkfs.ext4", "losetup", "mount", "umount")
_SBIN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class WorkVolumes:
    """Quota volumes below one directory. Blocking: call from a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ensure(self, lease_id: str, disk_mib: int) -> WorkMount:
        """Make sure the lease's volume exists and is mounted.

        Raises:
            Unavailable: the host's disk has no room for it, or a mount tool failed.
        """
        image, mounted = self._paths(lease_id)
        if not os.path.ismount(mounted):
            mounted.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not image.exists():
                # The file system's own tables come on top of what was bought.
                self._make_image(image, disk_mib + disk_mib // 40 + 8)
            self._mount(image, mounted)
        return WorkMount(kind="bind", source=str(mounted))

    def remount(self, lease_id: str) -> None:
        """Mount again what a reboot unmounted.

        Raises:
            Unavailable: the volume's file is gone.
        """
        image, mounted = self._paths(lease_id)
        if not image.exists():
            raise Unavailable("a job's volume has vanished from the disk", code="volume_failed")
        if not os.path.ismount(mounted):
            self._mount(image, mounted)

    def is_ready(self, lease_id: str) -> bool:
        """Whether the volume is mounted now. An unmounted one (after a reboot) would let a job fill the host's disk."""
        return os.path.ismount(self._paths(lease_id)[1])

    def release(self, lease_id: str) -> None:
        """Make sure nothing is left of the lease's volume.

        Raises:
            Unavailable: it is still in use.
        """
        image, mounted = self._paths(lease_id)
        while os.path.ismount(mounted):
            _run("umount", str(mounted))
        if image.exists():
            for loop in self._attached(image):
                _run("losetup", "-d", loop)  # a crash between attach and mount leaves one
        image.unlink(missing_ok=True)
        image.with_suffix(".new").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            mounted.rmdir()

    def leases(self) -> list[str]:
        """Leases that have a volume here, in any state of making."""
        if not self._directory.is_dir():
            return []
        return sorted({path.name.partition(".")[0] for path in self._directory.iterdir()})

    def _paths(self, lease_id: str) -> tuple[Path, Path]:
        name = checked_lease_id(lease_id)
        return self._directory / f"{name}.ext4", self._directory / name

    def _make_image(self, image: Path, size_mib: int) -> None:
        free_mib = shutil.disk_usage(self._directory).free // MIB
        if free_mib - size_mib < DISK_FLOOR_MIB:
            raise Unavailable(
                f"{size_mib} MiB of disk are not free ({free_mib} MiB left, {DISK_FLOOR_MIB} kept)",
                code="disk_full",
            )
        fresh = image.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size_mib * MIB)
        except OSError as error:
            raise Unavailable("the host's disk is full", code="disk_full") from error
        finally:
            os.close(descriptor)
        options = f"lazy_itable_init=1,nodiscard,root_owner={JOB_UID}:{JOB_UID}"
        # No journal: after a crash of the host the job is lost anyway, and small volumes keep their space.
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", options, str(fresh))
        os.replace(fresh, image)

    def _mount(self, image: Path, mounted: Path) -> None:
        loop = self._attach(image)
        try:
            _run("mount", "-t", "ext4", "-o", "nosuid,nodev,noatime", loop, str(mounted))
        finally:
            _run("losetup", "-d", loop)  # takes effect at the unmount: the device never outlives it
        with suppress(OSError):
            (mounted / "lost+found").rmdir()

    def _attach(self, image: Path) -> str:
        if attached := self._attached(image):
            return attached[0]
        # Direct I/O: else every page is cached twice, once outside the job's memory limit.
        return _run("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()

    def _attached(self, image: Path) -> list[str]:
        listed = _run("losetup", "--associated", str(image), "--noheadings", "--output", "NAME")
        return listed.split()


def can_make_volumes() -> bool:
    """Whether quota volumes can work here: root, the tools, and loop devices."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        return False
    return all(shutil.which(tool, path=_SBIN["PATH"]) for tool in _TOOLS)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_STEP_TIMEOUT_S, env=_SBIN)
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{command[0]} failed while a job's volume was handled", code="volume_failed") from error
    return done.stdout
