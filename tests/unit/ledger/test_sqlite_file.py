"""The journal's file: made private, owned by one, with dead weight to throw off."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ledger.sqlite_file import Ballast, only_process
from market.errors import InvalidRequest

KIB = 1024


def test_the_file_is_made_private_and_so_is_an_old_one(tmp_path: Path) -> None:
    fresh, old = tmp_path / "node" / "fresh.db", tmp_path / "old.db"
    old.touch(mode=0o644)
    for path in (fresh, old):
        with only_process(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(fresh.parent.stat().st_mode) == 0o700


def test_there_is_one_owner_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with only_process(path):
        with pytest.raises(InvalidRequest) as refused, only_process(path):
            pass
        assert (refused.value.code, refused.value.where) == ("already_running", str(path))
        # A refused owner must not have taken the lock away from the first.
        with pytest.raises(InvalidRequest), only_process(path):
            pass
    with only_process(path):
        pass


def test_a_path_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "file" / "journal.db", tmp_path / "link.db"):
        with pytest.raises(InvalidRequest) as refused, only_process(path):
            pass
        assert refused.value.code == "journal_unreachable"
    assert not (tmp_path / "elsewhere").exists()


def test_the_ballast_takes_real_room_and_is_given_away_once(tmp_path: Path) -> None:
    weight = tmp_path / "journal.db.ballast"
    ballast = Ballast(tmp_path / "journal.db", 64 * KIB)
    ballast.fill()
    assert weight.stat().st_blocks * 512 >= 64 * KIB
    assert stat.S_IMODE(weight.stat().st_mode) == 0o600

    assert ballast.release()
    assert not weight.exists()
    assert not ballast.release()
    ballast.fill()
    assert weight.exists()


def test_a_disk_that_is_nearly_full_is_not_filled_further(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    ballast = Ballast(tmp_path / "journal.db", free.f_bavail * free.f_frsize * 2 // 3)
    ballast.fill()

    assert list(tmp_path.iterdir()) == []
