"""The files a user names, packed once: what the job finds is what was named, and what cannot be read is said."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from market.errors import InvalidRequest
from node.job_file.request import JobRequest, LocalInput
from node.job_packing import measure_inputs, pack_inputs
from node.lease_files import sha256_of
from node.requester_files import RequesterFiles
from tests.fakes.desks import RecordingNetwork
from tests.fakes.samples import SPEC


async def packed(tmp_path: Path, *inputs: tuple[str, str]) -> list[tuple[str, list[str]]]:
    """Pack and return for each input its target in the container and the names in its archive."""
    local = tuple(LocalInput(source=source, target=target) for source, target in inputs)
    request = JobRequest(name="job", spec=SPEC, max_price=1, max_total=1, inputs=local)
    files = RequesterFiles(tmp_path / "jobs", RecordingNetwork())
    found = []
    for index, item in enumerate(await pack_inputs(request, files, "j")):
        tar = files.input_path("j", index)
        assert (item.size, item.sha256) == (tar.stat().st_size, sha256_of(tar))
        with tarfile.open(tar) as archive:
            found.append((item.target, sorted(archive.getnames())))
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.csv").write_text("1")
    (folder / "sub" / "b.csv").write_text("2")
    return folder


async def test_a_folders_content_appears_under_its_target(tmp_path: Path, data: Path):
    ((target, names),) = await packed(tmp_path, (str(data), "/work/in"))
    assert target == "/work/in"
    assert {"a.csv", "sub/b.csv"} <= set(names)


async def test_a_file_appears_under_the_name_the_job_asks_for(tmp_path: Path, data: Path):
    assert await packed(tmp_path, (str(data / "a.csv"), "/work/in/train.csv")) == [("/work/in", ["train.csv"])]


async def test_inputs_keep_their_order(tmp_path: Path, data: Path):
    found = await packed(tmp_path, (str(data / "a.csv"), "/work/one"), (str(data / "sub/b.csv"), "/work/two"))
    assert [names for _, names in found] == [["one"], ["two"]]


async def test_the_same_files_make_the_same_archive(tmp_path: Path, data: Path):
    """The hash is part of what the bid commits to: packing twice must not change it."""
    for name in ("one", "two"):
        await packed(tmp_path / name, (str(data), "/work/in"))
        os.utime(data / "a.csv", (1, 1))
    first, second = (tmp_path / name / "jobs/j/inputs/0.tar" for name in ("one", "two"))
    assert sha256_of(first) == sha256_of(second)


async def test_a_file_that_is_not_there_is_explained(tmp_path: Path):
    with pytest.raises(InvalidRequest) as refused:
        await packed(tmp_path, (str(tmp_path / "nowhere"), "/work/in"))
    assert refused.value.code == "no_such_file"
    assert "nowhere" in refused.value.message


async def test_a_special_file_is_refused(tmp_path: Path, data: Path):
    os.mkfifo(data / "pipe")
    with pytest.raises(InvalidRequest) as refused:
        await packed(tmp_path, (str(data), "/work/in"))
    assert refused.value.code == "special_file"


async def test_measuring_is_about_as_good_as_packing_and_makes_nothing(tmp_path: Path, data: Path):
    (data / "large").write_bytes(bytes(100_000))
    (data / "dangling").symlink_to("nowhere")
    local = (
        LocalInput(source=str(data), target="/work/in"),
        LocalInput(source=str(data / "large"), target="/work/large"),
    )
    request = JobRequest(name="job", spec=SPEC, max_price=1, max_total=1, inputs=local)
    measured = await measure_inputs(request)
    assert not (tmp_path / "jobs").exists()
    packed = await pack_inputs(request, RequesterFiles(tmp_path / "jobs", RecordingNetwork()), "j")
    for guess, true in zip(measured, packed, strict=True):
        assert abs(guess.size - true.size) < 12_000, "the end mark, and attributes"


async def test_what_is_not_there_cannot_be_measured(tmp_path: Path):
    local = (LocalInput(source=str(tmp_path / "gone"), target="/work/in"),)
    with pytest.raises(InvalidRequest):
        await measure_inputs(JobRequest(name="job", spec=SPEC, max_price=1, max_total=1, inputs=local))
