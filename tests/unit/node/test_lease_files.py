"""Inputs on a provider's disk: complete or not there, at paths no peer can choose, and gone with their lease."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from market.records import InputFile
from node.lease_files import LeaseFiles, sha256_of
from tests.fakes.desks import a_board
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.samples import SPEC

LEASE = b"l" * 16
CONTENT = b"0123456789" * 300_000
EXPECTED = InputFile(target="/work/in", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).digest())


async def test_a_part_that_matches_becomes_the_input(tmp_path: Path):
    files = LeaseFiles(tmp_path)
    part = files.part_path(LEASE, 0)
    part.write_bytes(CONTENT)
    assert await files.complete(LEASE, 0, EXPECTED)
    assert files.input_path(LEASE, 0).read_bytes() == CONTENT
    assert not part.exists()


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"x" + CONTENT[1:]])
async def test_a_part_that_does_not_match_is_thrown_away(tmp_path: Path, content: bytes):
    files = LeaseFiles(tmp_path)
    part = files.part_path(LEASE, 0)
    part.write_bytes(content)
    assert not await files.complete(LEASE, 0, EXPECTED)
    assert not part.exists()
    assert not files.input_path(LEASE, 0).exists()


async def test_a_lease_that_ends_while_an_input_arrives_is_no_error(tmp_path: Path):
    files = LeaseFiles(tmp_path)
    files.part_path(LEASE, 0).write_bytes(CONTENT)
    files.drop(LEASE)
    assert not await files.complete(LEASE, 0, EXPECTED)


async def test_an_empty_input_is_an_input(tmp_path: Path):
    files = LeaseFiles(tmp_path)
    files.part_path(LEASE, 0).touch()
    assert await files.complete(LEASE, 0, replace(EXPECTED, size=0, sha256=hashlib.sha256().digest()))


async def test_paths_are_made_of_lease_and_index_alone(tmp_path: Path):
    files = LeaseFiles(tmp_path)
    assert files.input_path(b"../../../../etc/", 3) == tmp_path / b"../../../../etc/".hex() / "3.tar"
    assert files.part_path(LEASE, 0).parent.stat().st_mode & 0o077 == 0


async def test_waiting_ends_when_the_last_input_is_there(tmp_path: Path):
    files = LeaseFiles(tmp_path)
    board = await a_board(MemoryJournal(), spec=replace(SPEC, inputs=(EXPECTED, EXPECTED)))
    done = trio.Event()

    async def wait() -> None:
        await files.wait_inputs(board)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for index in (1, 0):
            await trio.testing.wait_all_tasks_blocked()
            assert not done.is_set()
            files.part_path(board.lease_id, index).write_bytes(CONTENT)
            assert await files.complete(board.lease_id, index, EXPECTED)
        with trio.fail_after(5):
            await done.wait()


async def test_a_job_without_inputs_waits_for_nothing(tmp_path: Path):
    await LeaseFiles(tmp_path).wait_inputs(await a_board(MemoryJournal()))


async def test_dropping_is_safe_to_repeat_and_touches_no_other_lease(tmp_path: Path):
    files = LeaseFiles(tmp_path)
    for lease in (LEASE, b"m" * 16):
        files.part_path(lease, 0).write_bytes(b"x")
    files.drop(LEASE)
    files.drop(LEASE)
    assert os.listdir(tmp_path) == [(b"m" * 16).hex()]


def test_the_hash_is_the_files_own(tmp_path: Path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert sha256_of(tmp_path / "f") == EXPECTED.sha256
