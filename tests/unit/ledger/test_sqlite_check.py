"""Damage: a cut at every byte of the last transaction costs nothing that was acknowledged; a turned bit is named."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from ledger.ports import NewEntry
from ledger.sqlite_check import examine
from ledger.sqlite_journal import open_journal
from ledger.sqlite_schema import steps
from market.errors import FabricError, InvalidRequest

SEED = 20263
EVERY = int(os.environ.get("CFAB_FLIP_EVERY", "13"))
"""Of so many bytes one is hit by the flip tests; 1 takes a minute or two."""
NAMED = {"journal_damaged", "journal_rolled_back", "not_a_journal", "journal_newer"}
Content = tuple[list[tuple[object, ...]], list[list[tuple[object, ...]]], list[tuple[object, ...]]]


def fact(stream: str, body: bytes) -> NewEntry:
    return NewEntry(stream=stream, kind="Happened", at_ms=1, body=body)


def small_pages(path: Path) -> Path:
    """An empty journal of pages so small that every byte of a transaction can be tried."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as new:
        new.execute("pragma page_size=512")
        new.execute("pragma journal_mode=wal")
    return path


async def copies(folder: Path, *, running: bool) -> Path:
    """A journal with some of everything, as a kill left it (with its log) or as a tidy end did."""
    source, copy = small_pages(folder / "source" / "journal.db"), folder / "copy" / "journal.db"
    copy.parent.mkdir()
    async with open_journal(source, ballast_bytes=0) as journal:
        for number in range(8):
            stream = f"lease/{number % 3}"
            await journal.append([fact(stream, b"%d" % number * 40)], {f"lane/{number}": b"books" * 9})
        await journal.append([fact("lease/0", b"long" * 2000)], {"lane/0": b"newer books"})
        await journal.append([], {"cursor": b"7"})
        if running:
            for file in source.parent.iterdir():
                shutil.copy(file, copy.parent)
    if not running:
        for file in source.parent.iterdir():
            shutil.copy(file, copy.parent)
    return copy


def content(path: Path) -> Content:
    """Everything the journal would answer, by table and by index."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as found:
        entries = found.execute("select position, stream, kind, at_ms, body from entry order by position").fetchall()
        streams = [
            found.execute("select position from entry where stream = ? order by position", (f"lease/{n}",)).fetchall()
            for n in range(3)
        ]
        values = found.execute("select key, value from value order by key").fetchall()
    return entries, streams, values


def verdict(path: Path, whole: Content) -> str:
    """The code of the refusal, or "" for a journal that says what it said before."""
    try:
        examine(path)
    except FabricError as refused:
        return refused.code
    assert content(path) == whole
    return ""


async def test_a_cut_at_every_byte_of_the_last_transaction_costs_only_that_one(tmp_path: Path) -> None:
    source, copy = small_pages(tmp_path / "source" / "journal.db"), tmp_path / "copy" / "journal.db"
    copy.parent.mkdir()
    log = copy.with_name("journal.db-wal")
    async with open_journal(source, ballast_bytes=0) as journal:
        await journal.append([fact("a", b"acknowledged")], {"lane": b"acknowledged"})
        before = source.with_name("journal.db-wal").stat().st_size
        shutil.copy(source.with_name("journal.db.end"), copy.parent)
        await journal.append([fact("a", b"under way")], {"lane": b"under way"})
        after = source.with_name("journal.db-wal").stat().st_size
        shutil.copy(source, copy)
        shutil.copy(source.with_name("journal.db-wal"), log)
    assert examine(copy).reached.position == 2
    for cut in range(after - 1, before - 1, -1):
        os.truncate(log, cut)
        assert examine(copy).reached.position == 1, cut
    async with open_journal(copy, ballast_bytes=0) as survivor:
        assert await survivor.get("lane") == b"acknowledged"
        assert [entry.body for entry in await survivor.read("a")] == [b"acknowledged"]


async def test_an_acknowledged_transaction_that_was_cut_off_is_missed(tmp_path: Path) -> None:
    copy = await copies(tmp_path, running=True)
    log = copy.with_name("journal.db-wal")
    os.truncate(log, log.stat().st_size - 1)
    with pytest.raises(InvalidRequest) as refused:
        examine(copy)
    assert refused.value.code == "journal_rolled_back"


@pytest.mark.parametrize("file", ["journal.db", "journal.db-wal"])
async def test_a_turned_bit_is_named_or_changes_nothing(tmp_path: Path, file: str) -> None:
    random = Random(SEED)
    copy = await copies(tmp_path, running=file.endswith("wal"))
    whole = content(copy)
    target = copy.with_name(file)
    raw = target.read_bytes()
    seen: Counter[str] = Counter()
    start = random.randrange(EVERY)
    for position in range(start, len(raw), EVERY):
        turned = bytearray(raw)
        turned[position] ^= 1 << random.randrange(8)
        target.write_bytes(turned)
        seen[verdict(copy, whole)] += 1
        if not file.endswith("wal"):
            copy.with_name("journal.db-wal").unlink(missing_ok=True)
    print(f"seed {SEED}, every {EVERY}th of {len(raw)} bytes: {dict(seen)}")
    assert set(seen) <= NAMED | {""}
    assert seen["journal_damaged"] + seen["journal_rolled_back"] > sum(seen.values()) // 10


async def test_a_turned_bit_in_the_log_is_always_named(tmp_path: Path) -> None:
    """Also in the very last transaction, where SQLite takes it for a torn one."""
    copy = await copies(tmp_path, running=True)
    log = copy.with_name("journal.db-wal")
    raw = bytearray(log.read_bytes())
    raw[-1] ^= 1
    log.write_bytes(raw)
    with pytest.raises(InvalidRequest) as refused:
        examine(copy)
    assert refused.value.code == "journal_rolled_back"


async def test_an_empty_file_is_a_journal_that_has_not_begun(tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch()
    assert examine(tmp_path / "journal.db").version == 0


async def test_a_journal_that_was_emptied_is_missed(tmp_path: Path) -> None:
    copy = await copies(tmp_path, running=False)
    copy.write_bytes(b"")
    with pytest.raises(InvalidRequest) as refused:
        examine(copy)
    assert refused.value.code == "journal_rolled_back"


async def test_a_running_journal_can_be_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with open_journal(path, ballast_bytes=0) as journal:
        await journal.append([fact("a", b"1")])
        examined = examine(path)
        assert (examined.version, examined.reached.position) == (len(steps()), 1)
        await journal.append([fact("a", b"2")])
        assert examine(path).reached.position == 2
