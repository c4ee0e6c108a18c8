"""Archives from strangers: each hostile one is refused, and honest ones come through unchanged."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from market.errors import InvalidRequest
from runtime.artifacts import TarLimits, _clean, check_tar, pack, reowned, shown, unpack

LIMITS = TarLimits(max_bytes=1 << 20, max_entries=50)


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


def archive(path: Path, *members: tarfile.TarInfo, fill: bytes = b"x") -> Path:
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(fill * member.size) if member.isreg() else None)
    return path


HOSTILE: dict[str, list[tarfile.TarInfo]] = {
    "absolute name": [entry("/etc/passwd")],
    "climbing name": [entry("../x")],
    "climbing in the middle": [entry("a/../../x")],
    "a name that no disk takes": [entry("n" * 256)],
    "a name of more bytes than letters": [entry("é" * 128)],
    "absolute link": [entry("a", tarfile.SYMTYPE, "/etc")],
    "climbing link": [entry("a", tarfile.SYMTYPE, "..")],
    "climbing link below": [entry("d/a", tarfile.SYMTYPE, "../../x")],
    "empty link": [entry("a", tarfile.SYMTYPE, "")],
    "link that climbs out of another link": [
        entry("a/b/top", tarfile.SYMTYPE, "../.."),
        entry("out", tarfile.SYMTYPE, "a/b/top/../x"),
    ],
    "file behind a link": [entry("a", tarfile.SYMTYPE, "b"), entry("a/x")],
    "hard link out": [entry("a", tarfile.LNKTYPE, "../../etc/passwd")],
    "hard link to nothing here": [entry("a", tarfile.LNKTYPE, "b")],
    "hard link to a link": [entry("l", tarfile.SYMTYPE, "x"), entry("a", tarfile.LNKTYPE, "l")],
    "character device": [entry("null", tarfile.CHRTYPE)],
    "block device": [entry("sda", tarfile.BLKTYPE)],
    "pipe": [entry("fifo", tarfile.FIFOTYPE)],
    "too many entries": [entry(f"f{n}") for n in range(51)],
    "too many bytes": [entry("a", size=1 << 19), entry("b", size=(1 << 19) + 1)],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_are_refused_and_write_nothing(members: list[tarfile.TarInfo], tmp_path: Path) -> None:
    tar = archive(tmp_path / "x.tar", *members)
    with pytest.raises(InvalidRequest):
        check_tar(tar, LIMITS)
    with pytest.raises(InvalidRequest):
        unpack(tar, tmp_path / "out" / "in", LIMITS)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["x.tar"]


def cut(data: bytes) -> bytes:
    return data[:700]


def without_end(data: bytes) -> bytes:
    return data.rstrip(b"\0").ljust(1024, b"\0")


def long_header(data: bytes) -> bytes:
    return entry("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1 << 30).tobuf(tarfile.GNU_FORMAT) + data


def negative_size(data: bytes) -> bytes:
    header = bytearray(entry("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header) + data


@pytest.mark.parametrize(
    "spoil", [cut, without_end, long_header, negative_size, lambda data: b"", lambda data: b"\x1f\x8b"]
)
def test_broken_archives_are_refused(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    tar = archive(tmp_path / "x.tar", entry("a", size=600))
    tar.write_bytes(spoil(tar.read_bytes()))
    with pytest.raises(InvalidRequest):
        check_tar(tar, LIMITS)


def test_compressed_archives_are_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w:gz") as tar:
        tar.addfile(entry("a", size=3), io.BytesIO(b"abc"))
    with pytest.raises(InvalidRequest):
        check_tar(tmp_path / "x.tar", LIMITS)


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "a.bin").write_bytes(bytes(range(256)))
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("deep/a.bin")
    summary = pack(source, tmp_path / "x.tar")
    assert summary.bytes == 256 + 10
    assert unpack(tmp_path / "x.tar", tmp_path / "out", LIMITS) == summary
    assert (tmp_path / "out" / "deep" / "a.bin").read_bytes() == bytes(range(256))
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert (tmp_path / "out" / "link").read_bytes() == bytes(range(256))


def test_the_same_content_packs_to_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b").write_text("2")
        (tmp_path / name / "a").write_text("1")
        os.utime(tmp_path / name / "a", (len(name), 1_000 * len(name)))
        pack(tmp_path / name, tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_single_file_packs_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    pack(tmp_path / "train.py", tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        assert tar.getnames() == ["train.py"]


def test_packing_refuses_what_cannot_travel(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidRequest):
        pack(tmp_path, tmp_path.parent / "x.tar")
    with pytest.raises(InvalidRequest):
        pack(tmp_path / "nothing", tmp_path / "x.tar")


def test_a_directory_with_something_in_it_is_not_unpacked_into(tmp_path: Path) -> None:
    tar = archive(tmp_path / "x.tar", entry("a"))
    with pytest.raises(InvalidRequest):
        unpack(tar, tmp_path, LIMITS)


def test_inputs_are_moved_and_given_to_the_job(tmp_path: Path) -> None:
    root_owned = entry("tool", size=700)
    root_owned.mode, root_owned.uid, root_owned.uname = 0o6755, 0, "root"
    hard = entry("copy", tarfile.LNKTYPE, "tool")
    tar = archive(tmp_path / "x.tar", entry("./", tarfile.DIRTYPE), root_owned, hard, fill=b"y")
    out = tmp_path / "y.tar"
    out.write_bytes(b"".join(reowned(tar, below="in/put", owner=65534)))
    with tarfile.open(out) as moved:
        members = {member.name: member for member in moved}
        content = moved.extractfile("in/put/tool")
        assert content is not None
        assert content.read() == b"y" * 700
    assert sorted(members) == ["in", "in/put", "in/put/copy", "in/put/tool"]
    assert {(m.uid, m.gid, m.uname) for m in members.values()} == {(65534, 65534, "")}
    assert members["in/put/tool"].mode == 0o755
    assert members["in/put/copy"].linkname == "in/put/tool"
    check_tar(out, LIMITS)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_that_is_no_text_keeps_its_bytes(form: int, tmp_path: Path) -> None:
    tar = tmp_path / "x.tar"
    with tarfile.open(tar, "w", format=form) as out:
        out.addfile(entry("a\udcff"))
    unpack(tar, tmp_path / "out", LIMITS)
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"a\xff"]
    (tmp_path / "again.tar").write_bytes(b"".join(reowned(tar, below="in", owner=1)))
    unpack(tmp_path / "again.tar", tmp_path / "again", LIMITS)
    assert os.listdir(os.fsencode(tmp_path / "again" / "in")) == [b"a\xff"]


@pytest.mark.parametrize("name", ["plain é 名", "a\udcff", "\ud800", "\x1b[2J\r\n", "a\u202eb", "\0"])
def test_a_name_is_shown_in_letters_that_any_message_holds(name: str) -> None:
    seen = shown(name)
    assert seen.encode("utf-8").isascii() or seen == name
    assert seen.isprintable()


def test_half_a_character_is_no_name() -> None:
    with pytest.raises(InvalidRequest):
        _clean("a\ud800")
