"""The mark beside the journal: how far it had come."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ledger.sqlite_end_mark import EndMark, Reached, mark_path, read_mark
from market.errors import InvalidRequest

FIRST, SECOND, THIRD = (Reached(n, 1, bytes([n]) * 32) for n in (7, 8, 9))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def written(journal: Path, *marks: Reached) -> bytearray:
    with EndMark(journal) as mark:
        for one in marks:
            mark.write(one)
    return bytearray(mark_path(journal).read_bytes())


def test_the_newest_mark_is_read_back_and_is_private(journal: Path) -> None:
    assert read_mark(journal) == Reached()
    written(journal, FIRST, SECOND, THIRD)
    assert read_mark(journal) == THIRD
    assert stat.S_IMODE(mark_path(journal).stat().st_mode) == 0o600


def test_a_newer_put_counts_as_newer(journal: Path) -> None:
    later = Reached(FIRST.position, FIRST.puts + 1, FIRST.hash)
    written(journal, FIRST, later)
    assert read_mark(journal) == later


def test_a_torn_mark_leaves_the_one_before(journal: Path) -> None:
    raw = written(journal, FIRST, SECOND)
    for cut in range(64, 128):
        mark_path(journal).write_bytes(raw[:cut])
        assert read_mark(journal) == FIRST


def test_every_turned_bit_is_noticed(journal: Path) -> None:
    raw = written(journal, FIRST, SECOND)
    for bit in range(128 * 8):
        turned = bytearray(raw)
        turned[bit // 8] ^= 1 << bit % 8
        mark_path(journal).write_bytes(turned)
        assert read_mark(journal) == (SECOND if bit < 64 * 8 else FIRST)


def test_a_mark_of_which_nothing_can_be_read_is_refused(journal: Path) -> None:
    raw = written(journal, FIRST, SECOND)
    raw[3] ^= 1
    raw[99] ^= 1
    mark_path(journal).write_bytes(raw)
    with pytest.raises(InvalidRequest) as refused:
        read_mark(journal)
    assert refused.value.code == "journal_damaged"


@pytest.mark.parametrize("left", [b"", bytes(64), bytes(128)])
def test_what_a_power_cut_left_of_a_new_mark_tells_nothing(journal: Path, left: bytes) -> None:
    mark_path(journal).write_bytes(left)
    assert read_mark(journal) == Reached()
