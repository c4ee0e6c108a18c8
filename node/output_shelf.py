"""The packed outputs of leases on the provider's disk, beside their inputs: each packed once, and hashed once.

What a job wrote is bounded by its disk; what comes of packing it is not (a hole of a terabyte costs a job nothing). So
all archives of a lease together may take what was bought, and few are made at a time.
"""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

import trio
from msgspec import Struct

from market.errors import InvalidRequest
from node import wire
from node.lease_board import LeaseBoard
from node.lease_files import LeaseFiles, sha256_of
from node.provider import ProviderDesk
from runtime.ports import ContainerEngine, ContainerLost

_AT_ONCE = 2
"""Packing and hashing read whole disks: more at a time would slow the jobs that others paid for."""


class PackedOutput(Struct, frozen=True, kw_only=True):
    """An output ready to be sent."""

    tar: Path
    sha256: bytes


class OutputShelf:
    """Packs outputs on first request. Everything it holds lies in the lease's folder and is dropped with it."""

    def __init__(self, desk: ProviderDesk, engine: ContainerEngine, files: LeaseFiles) -> None:
        self._desk = desk
        self._engine = engine
        self._files = files
        self._packing: WeakValueDictionary[bytes, trio.Lock] = WeakValueDictionary()
        self._working = trio.Semaphore(_AT_ONCE)

    async def packed(self, board: LeaseBoard, index: int) -> PackedOutput | None:
        """Output ``index`` of a lease whose job has ended; None when it is not there, or larger than the disk.

        Raises:
            Unavailable: the engine does not answer.
        """
        tar = self._files.output_path(board.lease_id, index)
        digest, nothing = tar.with_suffix(".sha256"), tar.with_suffix(".none")
        # One at a time: two streams that ask for one output would write into each other's file, and two outputs of
        # one lease would both count on the same room.
        async with self._packing.setdefault(board.lease_id, trio.Lock()):
            if nothing.exists():
                return None
            if not (tar.exists() and digest.exists()):
                async with self._working:
                    if not await self._pack(board, index, tar, digest):
                        if board.state.finished_at:
                            nothing.touch()  # what has ended does not change: asking again must not pack again
                        return None
            return PackedOutput(tar=tar, sha256=digest.read_bytes())

    async def _pack(self, board: LeaseBoard, index: int, tar: Path, digest: Path) -> bool:
        fresh = tar.with_suffix(".fetching")
        try:
            await self._engine.fetch_files(
                board.lease_id.hex(), board.spec.outputs[index], str(fresh), max_bytes=self._room(board, tar.parent)
            )
            await trio.to_thread.run_sync(_seal, fresh, tar, digest)
        except (FileNotFoundError, InvalidRequest, ContainerLost):
            return False
        finally:
            fresh.unlink(missing_ok=True)
        return True

    def _room(self, board: LeaseBoard, folder: Path) -> int:
        """Bytes that the archives of this lease may still take."""
        machine = self._desk.machines.get(board.award.record.machine)
        # A machine that is no longer for sale is not known any more; what the job asked for it had.
        disk_mib = machine.description.disk_mib if machine else board.spec.requirements.disk_mib
        bought = (disk_mib * board.award.record.slots) << 20
        return max(0, min(wire.MAX_TRANSFER, bought - sum(path.stat().st_size for path in folder.glob("output-*.tar"))))


def _seal(fresh: Path, tar: Path, digest: Path) -> None:
    """Hash first: whoever finds the archive finds its digest too."""
    digest.write_bytes(sha256_of(fresh))
    fresh.rename(tar)
