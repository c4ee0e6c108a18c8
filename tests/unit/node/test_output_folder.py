"""Outputs on the user's disk: only inside the chosen folder, never through a link, never half a file."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from market.errors import InvalidRequest
from node.output_folder import Placed, place_output

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
                member.size, member.mode = len(what), 0o755
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

    def place(self, *entries: Entry, source: str = "/work/out") -> Placed:
        tar = a_tar(self.root / "node" / "o.tar", *entries)
        try:
            return place_output(
                tar, self.staging, self.destination, source=source, records=self.root / "node" / "placed"
            )
        finally:
            assert not self.staging.exists()

    def put(self, *entries: Entry, source: str = "/work/out") -> list[str]:
        """Place what has no problems; returns the names written."""
        placed = self.place(*entries, source=source)
        assert placed.problems == ()
        return [str(Path(path).relative_to(self.destination)) for path in placed.files]

    def refuse(self, *entries: Entry, source: str = "/work/out") -> list[str]:
        """Place what nothing of may arrive; returns the problems."""
        placed = self.place(*entries, source=source)
        assert placed.files == ()
        return list(placed.problems)

    def read(self, name: str) -> bytes:
        return (self.destination / name).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_folder_is_placed_as_its_content(place: Place):
    assert place.put(("out", None), ("out/a", b"1"), ("out/sub", None), ("out/sub/b", b"2")) == ["a", "sub/b"]
    assert (place.read("a"), place.read("sub/b")) == (b"1", b"2")


def test_size_is_that_of_the_files_and_not_of_their_archive(place: Place):
    assert place.place(("out", None), ("out/a", b"123"), ("out/sub", None), ("out/sub/b", b"45")).size == 5


def test_a_single_file_is_placed_as_itself(place: Place):
    assert place.put(("model.pt", b"1"), source="/work/out/model.pt") == ["model.pt"]


def test_a_file_named_like_the_folder_asked_for_is_still_a_file(place: Place):
    assert place.put(("out", b"1")) == ["out"]


def test_a_file_of_the_users_is_never_replaced(place: Place):
    place.destination.mkdir()
    (place.destination / "Makefile").write_bytes(b"mine")
    (place.destination / "kept").write_bytes(b"kept")
    placed = place.place(("out/Makefile", b"theirs"), ("out/b", b"new"))
    assert placed.files == (str(place.destination / "b"),)
    assert len(placed.problems) == 1
    assert "Makefile" in placed.problems[0]
    assert (place.read("Makefile"), place.read("b"), place.read("kept")) == (b"mine", b"new", b"kept")


def test_a_file_of_an_earlier_job_is_replaced(place: Place):
    """Also in a folder that was there before, and also when a crash cut the first attempt off after the move."""
    place.destination.mkdir()
    place.put(("out/a", b"first"), ("out/sub/a", b"first"))
    place.put(("out/a", b"second"), ("out/sub/a", b"second"))
    assert (place.read("a"), place.read("sub/a")) == (b"second", b"second")


def test_a_file_of_an_earlier_job_that_the_user_changed_is_the_users(place: Place):
    place.put(("out/a", b"first"))
    (place.destination / "a").write_bytes(b"edited")
    assert "a is there already" in place.refuse(("out/a", b"second"))[0]
    assert place.read("a") == b"edited"


def test_another_folder_of_the_same_name_holds_nothing_of_ours(place: Place):
    place.put(("out/a", b"1"))
    place.destination.rename(place.root / "elsewhere")
    place.put(("out/a", b"2"))
    assert place.read("a") == b"2"


@pytest.mark.parametrize("name", [".envrc", ".git/hooks/pre-commit", ".a/b/c"])
@pytest.mark.parametrize("fresh", [True, False])
def test_hidden_names_do_not_go_into_a_folder_of_the_users(place: Place, name: str, fresh: bool):
    if not fresh:
        (place.destination / ".git" / "hooks").mkdir(parents=True)
    assert "hidden" in place.refuse((f"out/{name}", b"#!/bin/sh"), ("out/x", None))[0]
    assert [path for path in place.destination.rglob("*") if path.is_file()] == []


def test_hidden_names_do_not_go_into_a_folder_below_that_was_there(place: Place):
    (place.destination / "vendor" / ".git" / "hooks").mkdir(parents=True)
    assert len(place.refuse(("out/vendor/.git/hooks/pre-commit", b"#!/bin/sh"))) == 1
    assert len(place.refuse(("out/vendor/.envrc", b"run me"))) == 1


def test_hidden_names_in_a_new_folder_below_are_the_jobs_own(place: Place):
    assert place.put(("out/cache/.index", b"1")) == ["cache/.index"]
    assert place.put(("out/cache/.index", b"2")) == ["cache/.index"]
    assert place.put(("out/other/.d/x", b"1")) == ["other/.d/x"]
    assert place.put(("out/other/.d/x", b"2"), ("out/other/.d/y", b"2")) == ["other/.d/x", "other/.d/y"]


def test_a_hidden_file_that_was_asked_for_by_name_is_placed(place: Place):
    assert place.put((".result", b"1"), source="/work/.result") == [".result"]


@pytest.mark.parametrize(("fresh", "mode"), [(True, 0o700), (False, 0o600)])
def test_a_program_stays_one_only_in_a_folder_made_for_it(place: Place, fresh: bool, mode: int):
    if not fresh:
        place.destination.mkdir()
    place.put(("out/run.sh", b"x"))
    place.put(("out/run.sh", b"y"))
    assert (place.destination / "run.sh").stat().st_mode & 0o777 == mode


def test_a_link_of_the_users_is_neither_replaced_nor_written_through(place: Place):
    place.destination.mkdir()
    (place.destination / "a").symlink_to(place.root / "secret")
    assert len(place.refuse(("out/a", b"theirs"))) == 1
    assert (place.root / "secret").read_bytes() == b"mine"
    assert (place.destination / "a").is_symlink()


def test_a_folder_that_is_a_link_is_not_written_through(place: Place):
    place.destination.mkdir()
    (place.root / "elsewhere").mkdir()
    (place.destination / "sub").symlink_to(place.root / "elsewhere")
    placed = place.place(("out/sub/a", b"1"), ("out/b", b"2"))
    assert placed.files == (str(place.destination / "b"),)
    assert "link" in placed.problems[0]
    assert list((place.root / "elsewhere").iterdir()) == []


def test_a_name_that_is_no_text_is_kept_on_disk_and_escaped_in_what_is_shown(place: Place):
    placed = place.place(("out/ok\udcff\x1b[2J", b"1"))
    assert msgspec.json.encode(placed)
    assert placed.files == (str(place.destination / "ok\\udcff\\x1b[2J"),)
    assert os.listdir(os.fsencode(place.destination)) == [b"ok\xff\x1b[2J"]


CLASHES: dict[str, tuple[Entry, ...]] = {
    "a file below a file": (("out/a", b"1"), ("out/a/b", b"2")),
    "a file in the place of a folder": (("out/a/b", b"1"), ("out/a", b"2")),
    "a name that no disk takes": (("out/" + "n" * 256, b"1"),),
    "a name of many short letters": (("out/" + "é" * 128, b"1"),),
    "a path that no disk takes": (("out" + "/d" * 2_500, b"1"),),
}


@pytest.mark.parametrize("what", CLASHES)
def test_what_cannot_be_unpacked_is_a_refusal_and_no_surprise(place: Place, what: str):
    with pytest.raises(InvalidRequest):
        place.place(*CLASHES[what])
    assert not place.destination.exists()


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
        place.place(*HOSTILE[trick])
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
            place.place(*entries)
        except InvalidRequest as error:
            assert error.code in ("output_folder", "unsafe_link", "unsafe_name")  # noqa: PT017 - either is right
    assert (place.root / "secret").read_bytes() == b"mine"
    assert list((place.root / "elsewhere").iterdir()) == []


def test_an_archive_cut_off_is_refused_whole(place: Place):
    tar = a_tar(place.root / "node" / "cut.tar", ("out/a", b"1" * 5_000), ("out/b", b"2"))
    tar.write_bytes(tar.read_bytes()[:4_096])
    with pytest.raises(InvalidRequest):
        place_output(tar, place.staging, place.destination, source="/work/out", records=place.root / "placed")
    assert not place.destination.exists()


def _a_file(place: Place) -> None:
    place.destination.write_bytes(b"x")


def _a_folder_in_the_way(place: Place) -> None:
    (place.destination / "a").mkdir(parents=True)


def _a_file_in_the_way(place: Place) -> None:
    place.destination.mkdir()
    (place.destination / "sub").write_bytes(b"x")


def test_a_place_that_is_no_folder_is_explained(place: Place):
    _a_file(place)
    with pytest.raises(InvalidRequest) as refused:
        place.place(("out/a", b"1"))
    assert refused.value.code == "output_folder"
    assert str(place.destination) in refused.value.message


@pytest.mark.parametrize(("obstacle", "placed"), [(_a_folder_in_the_way, "sub/b"), (_a_file_in_the_way, "a")])
def test_one_thing_in_the_way_stops_nothing_else(place: Place, obstacle: Callable[[Place], None], placed: str):
    obstacle(place)
    seen = place.place(("out/a", b"1"), ("out/sub/b", b"2"))
    assert seen.files == (str(place.destination / placed),)
    assert len(seen.problems) == 1


def test_a_staging_folder_left_by_a_crash_is_not_mixed_in(place: Place):
    (place.staging / "out").mkdir(parents=True)
    (place.staging / "out" / "left").write_bytes(b"x")
    assert place.put(("out/a", b"1")) == ["a"]


def test_across_disks_a_file_is_whole_or_not_there(place: Place, monkeypatch: pytest.MonkeyPatch):
    """A rename fails across disks; then the copy lies beside its place until it is complete.

    It lies in a folder of its own: a file of the user's that is called like the copy must not be written over.
    """
    place.destination.mkdir()
    (place.destination / "a.part").symlink_to(place.root / "secret")
    renamed = os.replace

    def other_disk(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(place.staging):
            raise OSError(18, "Invalid cross-device link")
        renamed(source, target)

    monkeypatch.setattr(os, "replace", other_disk)
    assert place.put(("out/a", b"1"), ("out/sub/b", b"2")) == ["a", "sub/b"]
    assert (place.read("a"), place.read("sub/b")) == (b"1", b"2")
    assert sorted(path.name for path in place.destination.rglob("*")) == ["a", "a.part", "b", "sub"]
    assert (place.root / "secret").read_bytes() == b"mine"
