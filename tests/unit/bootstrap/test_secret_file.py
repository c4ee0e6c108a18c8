"""Secret files: whole or not at all, never overwritten, never open to others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootstrap.secret_file import create_secret, read_secret, replace_secret
from market.errors import InvalidRequest


def test_what_was_created_is_read(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    assert create_secret(path, b"abc")
    assert read_secret(path, limit=3) == b"abc"
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    create_secret(path, b"first")
    assert not create_secret(path, b"second")
    assert read_secret(path, limit=10) == b"first"


def test_replacing_keeps_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    create_secret(path, b"first")
    replace_secret(path, b"second")
    assert read_secret(path, limit=10) == b"second"
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_left_beside(tmp_path: Path) -> None:
    create_secret(tmp_path / "secret", b"x")
    create_secret(tmp_path / "secret", b"y")
    replace_secret(tmp_path / "secret", b"z")
    assert os.listdir(tmp_path) == ["secret"]


def test_a_failed_replacement_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        replace_secret(tmp_path / "folder", b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    create_secret(tmp_path / "secret", b"abcd")
    with pytest.raises(InvalidRequest):
        read_secret(tmp_path / "secret", limit=3)


def test_a_device_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read_secret(Path("/dev/zero"), limit=3)


def test_a_missing_file_is_the_callers_business(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path / "secret", limit=3)
