"""Packed outputs on a provider's disk: whole with their digest or not there, within what was bought."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from market.errors import InvalidRequest, Unavailable
from market.records import Requirements
from node.lease_board import LeaseBoard
from node.lease_files import LeaseFiles
from node.output_shelf import OutputShelf
from runtime.ports import ContainerLost
from tests.fakes.desks import Seller, a_board, a_seller
from tests.fakes.samples import SPEC

MIB = 1 << 20
GIVES = replace(SPEC, outputs=("/work/a", "/work/b"), requirements=Requirements(slots=1, disk_mib=3))


class PackingEngine:
    """Packs what it is told to, or fails as it is told to; a failed packing leaves its half behind."""

    def __init__(self) -> None:
        self.content = b"packed"
        self.error: Exception | None = None
        self.limits: list[int] = []

    async def fetch_files(self, lease_id: str, path: str, tar_path: str, *, max_bytes: int) -> int:
        self.limits.append(max_bytes)
        Path(tar_path).write_bytes(self.content)  # noqa: ASYNC240 - a few bytes
        if self.error:
            raise self.error
        return len(self.content)


class Shelf:
    def __init__(self, seller: Seller, board: LeaseBoard, root: Path) -> None:
        self.seller, self.board = seller, board
        self.engine, self.files = PackingEngine(), LeaseFiles(root)
        self.shelf = OutputShelf(seller.desk, self.engine, self.files)  # type: ignore[arg-type]

    async def packed(self, index: int = 0) -> bytes | None:
        """What is on the shelf, its digest checked."""
        found = await self.shelf.packed(self.board, index)
        if found is None:
            return None
        content = found.tar.read_bytes()
        assert hashlib.sha256(content).digest() == found.sha256
        return content

    def left(self) -> set[str]:
        return {path.name for path in self.files.output_path(self.board.lease_id, 0).parent.iterdir()}


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with a_seller(disk_mib=2) as seller:
        yield Shelf(seller, await a_board(seller.journal, spec=GIVES), tmp_path)


async def test_an_output_is_packed_once(shelf: Shelf):
    assert [await shelf.packed() for _ in range(3)] == [b"packed"] * 3
    assert len(shelf.engine.limits) == 1


async def test_the_disk_of_all_slots_is_shared_by_all_outputs(shelf: Shelf):
    shelf.engine.content = bytes(MIB)
    await shelf.packed(0)
    await shelf.packed(1)
    slots = shelf.board.award.record.slots
    assert shelf.engine.limits == [2 * slots * MIB, (2 * slots - 1) * MIB]


async def test_a_machine_no_longer_for_sale_had_at_least_what_was_asked(shelf: Shelf):
    shelf.seller.desk.machines.clear()
    await shelf.packed()
    assert shelf.engine.limits == [3 * shelf.board.award.record.slots * MIB]


async def test_an_archive_without_its_digest_is_made_again(shelf: Shelf):
    await shelf.packed()
    shelf.files.output_path(shelf.board.lease_id, 0).with_suffix(".sha256").unlink()
    shelf.engine.content = b"again"
    assert await shelf.packed() == b"again"


@pytest.mark.parametrize("error", [FileNotFoundError(), InvalidRequest("too large", code="x"), ContainerLost("x")])
async def test_what_cannot_be_packed_leaves_nothing_and_is_not_tried_again_once_the_job_has_ended(
    shelf: Shelf, error: Exception
):
    shelf.engine.error = error
    assert await shelf.packed() is None
    assert shelf.left() == set()
    shelf.board.state = replace(shelf.board.state, finished_at=1)
    assert [await shelf.packed() for _ in range(3)] == [None] * 3
    assert len(shelf.engine.limits) == 2
    assert shelf.left() == {"output-0.none"}


async def test_an_engine_that_does_not_answer_is_asked_again(shelf: Shelf):
    shelf.engine.error = Unavailable("down")
    with pytest.raises(Unavailable):
        await shelf.packed()
    assert shelf.left() == set()
    shelf.engine.error = None
    assert await shelf.packed() == b"packed"
