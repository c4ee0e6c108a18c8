"""What jobs begin with: one entry for each, inputs packed once, nothing on the disk that nobody deletes."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from market.errors import InvalidRequest
from node import submission
from node.job_file.request import JobRequest, LocalInput
from node.job_journal import PREFIX, SUBMITTED, Submitted
from node.requester_files import RequesterFiles
from node.submission import first_entries, prepare
from tests.fakes.desks import RecordingNetwork
from tests.fakes.samples import NOW, SPEC


@pytest.fixture
def files(tmp_path: Path) -> RequesterFiles:
    return RequesterFiles(tmp_path / "jobs", RecordingNetwork())


def a_request(tmp_path: Path, machines: int) -> JobRequest:
    (tmp_path / "data.csv").write_text("1,2")
    given = LocalInput(source=str(tmp_path / "data.csv"), target="/work/data.csv")
    return JobRequest(name="job", spec=SPEC, max_price=1, max_total=9, inputs=(given,), machines=machines)


async def test_a_single_job_is_no_gang(tmp_path: Path, files: RequesterFiles):
    request = a_request(tmp_path, 1)
    ((job_id, submitted),) = await prepare(request, files, random.Random(1))
    assert (submitted.gang, submitted.request) == (None, request)
    assert len(submitted.spec.inputs) == 1
    assert files.input_path(job_id, 0).exists()


async def test_the_members_of_a_gang_have_one_gang_and_all_else_of_their_own(tmp_path: Path, files: RequesterFiles):
    prepared = await prepare(a_request(tmp_path, 3), files, random.Random(1))
    places = [submitted.gang for _, submitted in prepared]
    assert [(place.rank, place.size) for place in places if place] == [(0, 3), (1, 3), (2, 3)]
    assert len({place.gang for place in places if place}) == 1
    assert len({job_id for job_id, _ in prepared}) == len({submitted.salt for _, submitted in prepared}) == 3
    assert len({submitted.spec.inputs for _, submitted in prepared}) == 1


@pytest.mark.parametrize("links", [True, False])
async def test_every_member_has_the_inputs_and_may_delete_them(
    tmp_path: Path, files: RequesterFiles, links: bool, monkeypatch: pytest.MonkeyPatch
):
    def impossible(*_paths: object) -> None:
        raise OSError("no links here")

    if not links:
        monkeypatch.setattr(submission.os, "link", impossible)
    prepared = await prepare(a_request(tmp_path, 3), files, random.Random(1))
    paths = [files.input_path(job_id, 0) for job_id, _ in prepared]
    content = paths[0].read_bytes()
    for gone, path in enumerate(paths):
        assert all(other.read_bytes() == content for other in paths[gone:])
        path.unlink()


async def test_a_job_that_cannot_travel_is_refused(tmp_path: Path, files: RequesterFiles):
    request = replace(a_request(tmp_path, 2), spec=replace(SPEC, command=("x" * 131_072,) * 5))
    with pytest.raises(InvalidRequest) as refused:
        await prepare(request, files, random.Random(1))
    assert refused.value.code == "spec_too_large"


async def test_entries_are_read_back_as_they_were_meant(tmp_path: Path, files: RequesterFiles):
    prepared = await prepare(a_request(tmp_path, 2), files, random.Random(1))
    entries = first_entries(prepared, NOW)
    assert [(one.stream, one.kind, one.at_ms) for one in entries] == [
        (PREFIX + job_id, SUBMITTED, NOW) for job_id, _ in prepared
    ]
    assert [msgspec.json.decode(one.body, type=Submitted) for one in entries] == [one for _, one in prepared]
