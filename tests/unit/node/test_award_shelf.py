"""Award files are kept, replaced, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from market.errors import InvalidRequest
from market.transcript import AwardFile, read_file
from node import award_shelf
from node.award_shelf import AwardShelf


def a_file(text: bytes) -> AwardFile:
    return AwardFile(transcript=text, award=b"award")


def _kept(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


async def test_what_was_put_is_read_again(tmp_path: Path):
    shelf = AwardShelf(tmp_path / "awards")
    shelf.put("job", a_file(b"one"))
    shelf.put("job", a_file(b"two"))
    assert read_file(await shelf.get("job")) == a_file(b"two")
    assert _kept(tmp_path / "awards") == ["job"]


async def test_a_job_without_one_is_told_so(tmp_path: Path):
    with pytest.raises(InvalidRequest) as error:
        await AwardShelf(tmp_path / "awards").get("job")
    assert error.value.code == "not_found"


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(award_shelf, "KEPT", 2)
    shelf = AwardShelf(tmp_path)
    for name in ("a", "b", "c"):
        shelf.put(name, a_file(name.encode()))
    assert _kept(tmp_path) == ["b", "c"]


async def test_the_newest_stays_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(award_shelf, "KEPT_BYTES", 10)
    shelf = AwardShelf(tmp_path)
    shelf.put("a", a_file(b"x" * 100))
    shelf.put("b", a_file(b"x" * 100))
    assert _kept(tmp_path) == ["b"]


async def test_a_full_disk_costs_only_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    blocked = tmp_path / "awards"
    blocked.write_text("a file where the folder should be")
    AwardShelf(blocked).put("job", a_file(b"x"))
    assert "not kept" in caplog.text
