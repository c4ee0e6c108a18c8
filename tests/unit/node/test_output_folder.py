"""Outputs on the user's disk: only inside the chosen folder, never through a link, never half a file."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from market.errors import InvalidRequest
from node.output_folder import place_output

Entry = tuple[str, str | bytes | None]
"""Name, and what it is: bytes for a file, ``-> target`` for a link, None for a folder."""


def a_tar(path: Path, *entries: Entry) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, what in entries:
            member = tarfile.TarInfo(name)
            if what is None:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(member)
            elif isinstance(what, str):
                kind, target = what.split(" ", 1)
                member.type = {"->": tarfile.SYMTYPE, "=>": tarfile.LNKTYPE}[kind]
                member.linkname = target
                archive.addfile(member)
            else:
                member.size = len(what)
                archive.addfile(member, io.BytesIO(what))
    return path


class Place:
    """A user's folder beside other things of theirs, and an archive that arrived."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.destination = root / "results"
        self.staging = root / "node" / "staging"
        self.staging.parent.mkdir()
        (root / "secret").write_bytes(b"mine")

    def put(self, *entries: Entry, source: str = "/work/out") -> list[str]:
        tar = a_tar(self.root / "node" / "o.tar", *entries)
        written = place_output(tar, self.staging, self.destination, source=source)
        assert not self.staging.exists()
        return [str(Path(path).relative_to(self.destination)) for path in written]

    def read(self, name: str) -> bytes:
        return (self.destination / name).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_folder_is_placed_as_its_content(place: Place):
    assert place.put(("out", None), ("out/a", b"1"), ("out/sub", None), ("out/sub/b", b"2")) == ["a", "sub/b"]
    assert (place.read("a"), place.read("sub/b")) == (b"1", b"2")


def test_a_single_file_is_placed_as_itself(place: Place):
    assert place.put(("model.pt", b"1"), source="/work/out/model.pt") == ["model.pt"]


def test_a_file_named_like_the_folder_asked_for_is_still_a_file(place: Place):
    assert place.put(("out", b"1")) == ["out"]


def test_what_is_there_already_stays_and_only_equal_names_are_replaced(place: Place):
    place.destination.mkdir()
    (place.destination / "a").write_bytes(b"old")
    (place.destination / "kept").write_bytes(b"kept")
    place.put(("out/a", b"new"))
    assert (place.read("a"), place.read("kept")) == (b"new", b"kept")


def test_a_link_of_the_users_is_replaced_and_not_written_through(place: Place):
    place.destination.mkdir()
    (place.destination / "a").symlink_to(place.root / "secret")
    place.put(("out/a", b"theirs"))
    assert (place.root / "secret").read_bytes() == b"mine"
    assert not (place.destination / "a").is_symlink()
    assert place.read("a") == b"theirs"


def test_a_folder_that_is_a_link_is_not_written_through(place: Place):
    place.destination.mkdir()
    (place.root / "elsewhere").mkdir()
    (place.destination / "sub").symlink_to(place.root / "elsewhere")
    with pytest.raises(InvalidRequest) as refused:
        place.put(("out/sub/a", b"1"))
    assert refused.value.code == "output_folder"
    assert list((place.root / "elsewhere").iterdir()) == []


HOSTILE: dict[str, tuple[Entry, ...]] = {
    "a name that climbs": (("../escaped", b"x"),),
    "a name that climbs from inside": (("out/../../escaped", b"x"),),
    "an absolute name": (("/escaped", b"x"),),
    "a link that climbs": (("out/l", "-> ../../escaped"),),
    "an absolute link": (("out/l", "-> /etc/passwd"),),
    "a file through a link": (("out/l", "-> .."), ("out/l/escaped", b"x")),
    "a hard link to somewhere else": (("out/l", "=> ../../secret"),),
    "a hard link to an absolute path": (("out/l", "=> /etc/passwd"),),
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_a_hostile_archive_writes_nothing_outside_its_folder(place: Place, trick: str):
    before = {path.name for path in place.root.iterdir()} | {"results"}
    try:
        place.put(*HOSTILE[trick])
    except InvalidRequest:
        assert not place.destination.exists() or not any(place.destination.iterdir())
    assert {path.name for path in place.root.iterdir()} <= before
    assert (place.root / "secret").read_bytes() == b"mine"
    for path in place.destination.rglob("*") if place.destination.exists() else ():
        assert path.resolve().is_relative_to(place.destination.resolve()), f"{path} leads outside"


def test_a_link_from_one_output_does_not_lead_the_next_one_outside(place: Place):
    """Two archives, each harmless: the first leaves a link, the second writes through it."""
    (place.root / "elsewhere").mkdir()
    place.destination.mkdir()
    for entries in ((("out/x", "-> y"),), (("out/y", "-> ."),), (("out/x/a", b"1"),)):
        try:
            place.put(*entries)
        except InvalidRequest as error:
            assert error.code in ("output_folder", "unsafe_link", "unsafe_name")  # noqa: PT017 - either is right
    assert (place.root / "secret").read_bytes() == b"mine"
    assert list((place.root / "elsewhere").iterdir()) == []


def test_an_archive_cut_off_is_refused_whole(place: Place):
    tar = a_tar(place.root / "node" / "cut.tar", ("out/a", b"1" * 5_000), ("out/b", b"2"))
    tar.write_bytes(tar.read_bytes()[:4_096])
    with pytest.raises(InvalidRequest):
        place_output(tar, place.staging, place.destination, source="/work/out")
    assert not place.destination.exists()


def _a_file(place: Place) -> None:
    place.destination.write_bytes(b"x")


def _a_folder_in_the_way(place: Place) -> None:
    (place.destination / "a").mkdir(parents=True)


def _a_file_in_the_way(place: Place) -> None:
    place.destination.mkdir()
    (place.destination / "sub").write_bytes(b"x")


@pytest.mark.parametrize("obstacle", [_a_file, _a_folder_in_the_way, _a_file_in_the_way])
def test_a_place_that_cannot_be_written_is_explained(place: Place, obstacle: Callable[[Place], None]):
    obstacle(place)
    with pytest.raises(InvalidRequest) as refused:
        place.put(("out/a", b"1"), ("out/sub/b", b"2"))
    assert refused.value.code == "output_folder"
    assert str(place.destination) in refused.value.message


def test_a_staging_folder_left_by_a_crash_is_not_mixed_in(place: Place):
    (place.staging / "out").mkdir(parents=True)
    (place.staging / "out" / "left").write_bytes(b"x")
    assert place.put(("out/a", b"1")) == ["a"]


def test_across_disks_a_file_is_whole_or_not_there(place: Place, monkeypatch: pytest.MonkeyPatch):
    """A rename fails across disks; then the copy lies beside its place until it is complete."""
    renamed = os.replace

    def other_disk(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(place.staging):
            raise OSError(18, "Invalid cross-device link")
        renamed(source, target)

    monkeypatch.setattr(os, "replace", other_disk)
    assert place.put(("out/a", b"1"), ("out/sub/b", b"2")) == ["a", "sub/b"]
    assert (place.read("a"), place.read("sub/b")) == (b"1", b"2")
    assert sorted(path.name for path in place.destination.rglob("*")) == ["a", "b", "sub"]
