"""What is, and what must not be, in the root file system of the job image."""

from __future__ import annotations

import io
import sys
import tarfile

import pytest

from runtime.job_rootfs import write_rootfs


@pytest.fixture(scope="module")
def rootfs() -> bytes:
    out = io.BytesIO()
    write_rootfs(out)
    return out.getvalue()


def members(rootfs: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(rootfs)) as tar:
        return {member.name: member for member in tar}


def test_it_holds_an_interpreter_its_library_and_a_shell(rootfs: bytes) -> None:
    found, version = members(rootfs), "python{}.{}".format(*sys.version_info)
    assert found[f"usr/local/bin/{version}"].mode == 0o755
    assert found["usr/local/bin/python3"].linkname == version
    assert f"usr/local/lib/{version}/json/__init__.py" in found
    assert found["bin/sh"].isfile()
    assert any("/libc.so" in name for name in found)
    assert found["tmp"].mode == 0o1777


def test_it_holds_nothing_of_others(rootfs: bytes) -> None:
    assert [name for name in members(rootfs) if "site-packages" in name or "docker" in name] == []


def test_everything_belongs_to_root_and_nothing_is_set_id(rootfs: bytes) -> None:
    found = members(rootfs).values()
    assert {(member.uid, member.gid) for member in found} == {(0, 0)}
    assert [member.name for member in found if member.mode & 0o6000] == []


def test_no_entry_comes_twice_or_before_its_parent(rootfs: bytes) -> None:
    seen: set[str] = set()
    with tarfile.open(fileobj=io.BytesIO(rootfs)) as tar:
        for member in tar:
            assert member.name not in seen
            parent = member.name.rpartition("/")[0]
            assert not parent or parent in seen
            seen.add(member.name)


def test_the_same_interpreter_gives_the_same_bytes(rootfs: bytes) -> None:
    again = io.BytesIO()
    write_rootfs(again)
    assert again.getvalue() == rootfs
