"""The record of what jobs put into a folder: durable, per folder, and void as soon as a file is somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from node.placed_files import PlacedFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def remembered(folder: Path) -> PlacedFiles:
    return PlacedFiles(folder.parent / "records", folder)


def put(folder: Path, name: str, content: bytes = b"1") -> None:
    record = remembered(folder)
    (folder / name).write_bytes(content)
    record.add(name, folder / name)
    record.save({name})


def test_a_file_that_was_put_there_is_held_until_it_changes(folder: Path):
    put(folder, "a")
    assert remembered(folder).holds("a")
    (folder / "a").write_bytes(b"22")
    assert not remembered(folder).holds("a")


def test_a_file_of_equal_size_written_later_is_another_file(folder: Path):
    put(folder, "a")
    (folder / "a").write_bytes(b"2")
    os.utime(folder / "a", ns=(1, 1))
    assert not remembered(folder).holds("a")


def test_what_nobody_put_there_is_not_held(folder: Path):
    (folder / "b").write_bytes(b"1")
    put(folder, "a")
    assert not remembered(folder).holds("b")
    assert not remembered(folder).holds("gone")


def test_names_that_are_no_text_are_remembered(folder: Path):
    put(folder, "a\udcff")
    assert remembered(folder).holds("a\udcff")


def test_what_is_gone_is_forgotten_when_the_next_job_writes(folder: Path):
    put(folder, "a")
    was = (folder / "a").stat()
    (folder / "a").unlink()
    put(folder, "b")
    (folder / "a").write_bytes(b"1")
    os.utime(folder / "a", ns=(was.st_atime_ns, was.st_mtime_ns))
    assert not remembered(folder).holds("a")


def test_only_the_folder_that_was_made_for_outputs_counts_as_made(tmp_path: Path):
    made = tmp_path / "made"
    record = remembered(made)
    assert not record.made
    record.make()
    record.save(set())
    assert remembered(made).made
    made.rename(tmp_path / "away")
    made.mkdir()
    assert not remembered(made).made


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"made": 1, "files": 3}', b'{"made": 0, "files": {"a": null}}'])
def test_a_record_that_cannot_be_read_holds_nothing(folder: Path, junk: bytes):
    put(folder, "a")
    (path,) = (folder.parent / "records").iterdir()
    path.write_bytes(junk)
    assert not remembered(folder).holds("a")
    assert not remembered(folder).made
