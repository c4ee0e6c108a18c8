"""The spool after every way a node can be killed while it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.log_frames import LogPosition
from runtime.log_spool import LogSpool, notice, over, read_bytes, read_state

BEGIN, LATER = b"2025-01-02T03:04:05.000000001Z", b"2025-01-02T03:04:06.000000000Z"
FIRST = LogPosition(first=BEGIN, stdout=4, seen=BEGIN)
SECOND = LogPosition(first=BEGIN, stdout=4, stderr=2**40, seen=LATER)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "lease" / "log"


def test_what_was_written_is_read(log: Path) -> None:
    spool = LogSpool(log)
    spool.append(b"one\n", FIRST)
    spool.append(b"two\n", SECOND)
    spool.close()
    state = read_state(log)
    assert (state.size, state.position, state.complete) == (8, SECOND, False)
    assert read_bytes(log, 2, 4) == b"e\ntw"


def test_nothing_written_is_an_empty_log(log: Path) -> None:
    assert read_state(log).size == 0
    assert read_bytes(log, 0, 10) == b""


def test_killed_between_data_and_position_the_data_is_dropped(log: Path) -> None:
    spool = LogSpool(log)
    spool.append(b"one\n", FIRST)
    spool.close()
    with open(log, "ab") as torn:
        torn.write(b"tw")
    again = LogSpool(log)
    again.append(b"two\n", SECOND)
    again.close()
    assert read_bytes(log, 0, 100) == b"one\ntwo\n"


@pytest.mark.parametrize("damage", [b"", b"LOG1", b"x" * 200])
def test_a_damaged_position_starts_over(log: Path, damage: bytes) -> None:
    spool = LogSpool(log)
    spool.append(b"one\n", FIRST)
    spool.close()
    log.with_name("log.position").write_bytes(damage)
    again = LogSpool(log)
    assert again.state.position == LogPosition()
    again.append(b"one\n", FIRST)
    again.close()
    assert read_bytes(log, 0, 100) == b"one\n"


def test_beyond_the_cap_only_a_notice_follows(log: Path) -> None:
    spool = LogSpool(log, cap=6)
    spool.append(b"one\n", FIRST)
    spool.append(b"two\n", SECOND)
    spool.append(b"three\n", SECOND)
    spool.close()
    state = read_state(log)
    assert state.truncated
    assert read_bytes(log, 0, 200) == b"one\ntw" + notice("output above 6 bytes is dropped")
    assert state.size == len(read_bytes(log, 0, 200))


def test_the_cap_is_named_in_the_unit_people_know() -> None:
    assert over(64 * 1024 * 1024) == "output above 64 MiB is dropped"
    assert over(1_000_000) == "output above 1000000 bytes is dropped"


def test_complete_is_said_once(log: Path) -> None:
    spool = LogSpool(log)
    spool.append(b"one\n", FIRST)
    spool.finish(notice("stopped"))
    spool.finish(notice("stopped"))
    spool.close()
    assert read_state(log).complete
    assert read_bytes(log, 0, 100) == b"one\n" + notice("stopped")
