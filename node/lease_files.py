"""Input files of leases on the provider's disk: arriving in pieces, resumable, checked before use, dropped after.

A file is named by lease and index, never by anything a peer said, so no peer can choose a path.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import trio

from market.records import InputFile
from node.lease_board import LeaseBoard

_HASH_CHUNK = 1 << 20
_HASHING_AT_ONCE = 2


class LeaseFiles:
    """Keeps ``<root>/<lease>/<index>.tar``; a file still arriving is called ``<index>.part``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._arrived: dict[bytes, trio.Event] = {}
        self._hashing = trio.CapacityLimiter(_HASHING_AT_ONCE)

    def input_path(self, lease_id: bytes, index: int) -> Path:
        """Where the complete input ``index`` of a lease lies."""
        return self._root / lease_id.hex() / f"{index}.tar"

    def part_path(self, lease_id: bytes, index: int) -> Path:
        """Where an input is collected while it arrives. Makes the folder."""
        return self._folder(lease_id) / f"{index}.part"

    def output_path(self, lease_id: bytes, index: int) -> Path:
        """Where the packed output ``index`` of a lease lies. Makes the folder."""
        return self._folder(lease_id) / f"output-{index}.tar"

    async def complete(self, lease_id: bytes, index: int, expected: InputFile) -> bool:
        """Check a fully arrived part against its declared size and hash, and put it in its place.

        A part that does not match is deleted: the sender starts over.
        """
        part = self.part_path(lease_id, index)
        try:
            matches = await trio.to_thread.run_sync(_matches, part, expected, limiter=self._hashing)
            if matches:
                part.rename(self.input_path(lease_id, index))
        except FileNotFoundError:
            # The lease ended while its input was arriving, and its folder was dropped.
            return False
        if not matches:
            part.unlink(missing_ok=True)
            return False
        self._announce(lease_id)
        return True

    async def wait_inputs(self, board: LeaseBoard) -> None:
        """Return once every input of the lease is complete."""
        while not all(self.input_path(board.lease_id, index).exists() for index in range(len(board.spec.inputs))):
            await self._arrived.setdefault(board.lease_id, trio.Event()).wait()

    def drop(self, lease_id: bytes) -> None:
        """The container has its own copy, or needs none any more."""
        self._arrived.pop(lease_id, None)
        shutil.rmtree(self._root / lease_id.hex(), ignore_errors=True)

    def _folder(self, lease_id: bytes) -> Path:
        folder = self._root / lease_id.hex()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _announce(self, lease_id: bytes) -> None:
        if (event := self._arrived.pop(lease_id, None)) is not None:
            event.set()


def _matches(path: Path, expected: InputFile) -> bool:
    if path.stat().st_size != expected.size:
        return False
    return sha256_of(path) == expected.sha256


def sha256_of(path: Path) -> bytes:
    """SHA-256 of a file, read in pieces. Blocks: call it in a thread for anything large."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASH_CHUNK):
            digest.update(piece)
    return digest.digest()
