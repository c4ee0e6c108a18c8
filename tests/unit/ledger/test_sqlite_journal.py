"""What the real journal promises beyond the port: durability, privacy, one owner, damage found."""

# ruff: noqa: ASYNC240 - these tests look at small local files, and nothing else runs meanwhile.

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio

from ledger import sqlite_check, sqlite_schema
from ledger.ports import OLD_COPY, NewEntry
from ledger.sqlite_journal import open_journal
from market.errors import BrokenInvariant, InvalidRequest, Unavailable

KIB = 1024


def fact(body: bytes = b"body", stream: str = "a") -> NewEntry:
    return NewEntry(stream=stream, kind="Happened", at_ms=1, body=body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node" / "journal.db"


async def fill(path: Path, count: int) -> None:
    async with open_journal(path, ballast_bytes=0) as journal:
        for i in range(count):
            await journal.append([fact(b"%d" % i)], {"count": b"%d" % i})


def tamper(path: Path, sql: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()


async def test_entries_and_values_are_there_after_reopening(path: Path) -> None:
    await fill(path, 3)

    async with open_journal(path) as journal:
        assert [entry.body for entry in await journal.read("a")] == [b"0", b"1", b"2"]
        assert await journal.get("count") == b"2"
        [written] = await journal.append([fact()])
        assert written.position == 4


async def test_every_commit_is_synced(path: Path) -> None:
    async with open_journal(path) as journal:
        read_back = [
            await journal._thread.run(lambda name=name: sqlite_schema.value_of(journal._writer, f"pragma {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert read_back == ["wal", 2, 1]


async def test_its_files_are_readable_by_their_owner_only(path: Path) -> None:
    async with open_journal(path, ballast_bytes=64 * KIB) as journal:
        await journal.append([fact()])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert len(modes) == 6
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_second_owner_is_refused(path: Path) -> None:
    async with open_journal(path):
        with pytest.raises(InvalidRequest) as refused:
            async with open_journal(path):
                pass
        other = "import sys, trio; from ledger.sqlite_journal import open_journal\n"
        other += "async def main():\n  async with open_journal(sys.argv[1]): pass\n"
        other += "try: trio.run(main)\nexcept Exception as error: print(error.code)\n"
        answer = await trio.run_process([sys.executable, "-c", other, str(path)], capture_stdout=True)
    assert refused.value.code == "already_running"
    assert str(os.getpid()) in refused.value.message
    assert answer.stdout == b"already_running\n"
    async with open_journal(path):
        pass


async def test_nothing_is_left_running_when_the_block_ends_badly(path: Path) -> None:
    before = threading.active_count()
    with pytest.RaisesGroup(ZeroDivisionError, allow_unwrapped=True, flatten_subgroups=True):
        async with open_journal(path) as journal:
            await journal.append([fact()])
            raise ZeroDivisionError
    with trio.CancelScope() as scope:
        async with open_journal(path) as journal:
            scope.cancel()
            await trio.sleep_forever()
    assert threading.active_count() <= before + 1  # trio keeps an idle worker of its own
    assert not path.with_name("journal.db-wal").exists()


async def test_a_process_that_fails_with_an_open_journal_still_ends(path: Path) -> None:
    script = "import sys, trio; from ledger.sqlite_journal import open_journal\n"
    script += "async def main():\n  async with open_journal(sys.argv[1]): raise SystemExit(7)\n"
    script += "trio.run(main)\n"
    with trio.fail_after(60):
        ended = await trio.run_process(
            [sys.executable, "-c", script, str(path)], check=False, stderr=subprocess.DEVNULL
        )
    assert ended.returncode == 7


@pytest.mark.parametrize(
    "damage",
    [
        "update entry set body = x'00' where position = 2",
        "delete from entry where position = 2",
        "delete from entry where position = 4",
        "update entry set at_ms = at_ms + 1 where position = 4",
        "update value set value = x'39' where key = 'count'",
        "update value set key = 'cound' where key = 'count'",
        "drop index entry_by_stream",
        "alter table tally rename column puts to gets",
        "delete from schema_version",
    ],
)
async def test_a_journal_that_was_changed_is_refused(path: Path, damage: str) -> None:
    await fill(path, 4)
    async with open_journal(path):
        pass
    tamper(path, damage)

    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "journal_damaged"


async def test_a_long_journal_is_checked_from_where_the_last_check_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(path, 4)
    async with open_journal(path) as journal:
        await journal.append([fact(), fact()])
    monkeypatch.setattr(sqlite_check, "FULL_CHECK_ROWS", 3)

    tamper(path, "update entry set body = x'00' where position = 1")
    async with open_journal(path) as journal:
        assert len(await journal.read_all(after=1)) == 5
        with pytest.raises(InvalidRequest) as found:
            await journal.read("a")
        assert found.value.code == "journal_damaged", "what is not checked at the start is checked when it is read"
    tamper(path, "update entry set hash = zeroblob(32) where position = 6")
    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "journal_damaged"


async def test_damaged_pages_are_refused(path: Path) -> None:
    await fill(path, 200)
    raw = bytearray(path.read_bytes())
    raw[4096 * 2 : 4096 * 3] = b"\xa5" * 4096
    path.write_bytes(raw)

    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "journal_damaged"


async def test_a_file_that_is_no_database_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"dear diary" * 1000)

    with pytest.raises(InvalidRequest):
        async with open_journal(path):
            pass
    assert path.read_bytes() == b"dear diary" * 1000


async def test_somebody_elses_database_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir()
    tamper(path, "create table photos (id integer)")
    before = path.read_bytes()

    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "not_a_journal"
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused(path: Path) -> None:
    await fill(path, 1)
    tamper(path, "insert into schema_version values (99)")

    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "journal_newer"
    assert refused.value.fix


@pytest.mark.parametrize("kept", [0, 1, 24, 300, 4000, 9000])
async def test_a_torn_end_of_the_log_costs_only_what_was_never_returned_from(
    path: Path, tmp_path: Path, kept: int
) -> None:
    log = path.with_name("journal.db-wal")
    copy = tmp_path / "after-the-power-cut" / "journal.db"
    copy.parent.mkdir()
    async with open_journal(path) as journal:
        await journal.append([fact(b"returned from")], {"key": b"old"})
        synced = log.stat().st_size
        await journal.append([fact(b"x" * 9000)], {"key": b"new"})
        assert log.stat().st_size > synced + 9000
        shutil.copy(path, copy)
        copy.with_name("journal.db-wal").write_bytes(log.read_bytes()[: synced + kept] + b"\xa5" * 700)

    async with open_journal(copy) as survivor:
        found = [entry.body for entry in await survivor.read_all() if entry.stream != OLD_COPY]
        assert found == [b"returned from"]
        assert await survivor.get("key") == b"old"
        await survivor.append([fact(b"again")])


async def test_a_changed_value_is_not_believed_while_running(path: Path) -> None:
    await fill(path, 1)
    async with open_journal(path) as journal:
        assert await journal.get("count") == b"0"
        tamper(path, "update value set value = x'39' where key = 'count'")
        for read in (journal.get("count"), journal.get_all("c")):
            with pytest.raises(InvalidRequest) as found:
                await read
            assert found.value.code == "journal_damaged"


async def test_an_older_copy_is_not_taken_for_the_journal(path: Path, tmp_path: Path) -> None:
    await fill(path, 2)
    backup = tmp_path / "backup"
    shutil.copy(path, backup)
    async with open_journal(path) as journal:
        await journal.append([fact(b"acknowledged")])
    shutil.copy(backup, path)
    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "journal_rolled_back"
    assert "journal.db.end" in refused.value.fix

    # The way on that the fix names.
    path.with_name("journal.db.end").unlink()
    async with open_journal(path) as journal:
        assert [entry.body for entry in await journal.read("a")] == [b"0", b"1"]
        (noted,) = await journal.read(OLD_COPY)
        assert noted.position == 3
    async with open_journal(path) as journal:
        assert await journal.read(OLD_COPY) == [noted], "noted once"


async def test_a_new_journal_is_no_copy(path: Path) -> None:
    for _ in range(2):
        await fill(path, 1)
        async with open_journal(path) as journal:
            assert await journal.read(OLD_COPY) == []


async def test_a_lost_put_is_noticed_as_a_lost_entry_is(path: Path, tmp_path: Path) -> None:
    await fill(path, 1)
    shutil.copy(path, tmp_path / "backup")
    async with open_journal(path) as journal:
        await journal.append([], {"cursor": b"7"})
    shutil.copy(tmp_path / "backup", path)
    with pytest.raises(InvalidRequest) as refused:
        async with open_journal(path):
            pass
    assert refused.value.code == "journal_rolled_back"


async def test_what_is_refused_is_left_as_it_was(path: Path) -> None:
    await fill(path, 3)
    tamper(path, "update entry set body = x'00' where position = 2")
    before = path.read_bytes()
    with pytest.raises(InvalidRequest):
        async with open_journal(path):
            pass
    assert path.read_bytes() == before


async def test_a_database_that_another_program_holds_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_schema, "_BUSY_MS", 50)
    async with open_journal(path) as journal:
        browser = sqlite3.connect(path, isolation_level=None)
        browser.execute("begin immediate")
        try:
            with pytest.raises(Unavailable) as refused:
                await journal.append([fact()])
        finally:
            browser.close()
        assert refused.value.code == "journal_locked"
        await journal.append([fact()])


async def test_an_entry_beyond_all_bounds_is_refused(path: Path) -> None:
    async with open_journal(path) as journal:
        with pytest.raises(BrokenInvariant):
            await journal.append([fact(b"x" * (1024 * KIB + 1))])
        assert await journal.read_all() == []


async def test_of_calls_written_together_only_the_bad_one_fails(path: Path) -> None:
    failed: list[str] = []

    class Text(str):
        """What the strict table refuses, though it can be hashed."""

        def __radd__(self, other: bytes) -> bytes:
            return other

    async def append(name: str, value: object) -> None:
        try:
            await journal.append([fact(name.encode())], {name: value})  # type: ignore[dict-item]
        except BrokenInvariant as error:
            failed.append(f"{name} {error.code}")

    async with open_journal(path, ballast_bytes=0) as journal:
        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(append, f"{number}", b"" if number != 5 else Text("not bytes"))
        bodies = [entry.body for entry in await journal.read("a")]
    assert failed == ["5 journal_refused"]
    assert sorted(bodies) == [b"%d" % number for number in range(9) if number != 5]
