"""Facts about the engine's process, and the usual case where it cannot be seen."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.engine_process import MAX_OPEN_FILES, engine_pid, open_files_limit, shares_our_mounts


def test_a_missing_or_odd_pid_file_is_no_pid(tmp_path: Path) -> None:
    assert engine_pid(tmp_path / "none") is None
    (tmp_path / "odd").write_text("soon\n")
    assert engine_pid(tmp_path / "odd") is None
    (tmp_path / "good").write_text("42\n")
    assert engine_pid(tmp_path / "good") == 42


def test_we_share_our_own_mounts_and_nobody_elses() -> None:
    assert shares_our_mounts(os.getpid())
    assert not shares_our_mounts(None)
    assert not shares_our_mounts(2**30)


def test_an_unseen_engine_is_taken_for_a_usual_one() -> None:
    assert open_files_limit(None) == MAX_OPEN_FILES


def test_a_seen_engine_never_gets_more_than_the_most() -> None:
    assert 0 < open_files_limit(os.getpid()) <= MAX_OPEN_FILES
