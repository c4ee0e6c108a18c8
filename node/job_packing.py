"""Turns the files a user names into the checked tar files that travel: packed once, at submission, then immutable."""

from __future__ import annotations

import posixpath
from pathlib import Path

import trio

from market.errors import InvalidRequest
from market.records import InputFile
from node.job_file.request import JobRequest, LocalInput
from node.lease_files import sha256_of
from node.requester_files import RequesterFiles
from runtime.artifacts import pack


async def pack_inputs(request: JobRequest, files: RequesterFiles, job_id: str) -> tuple[InputFile, ...]:
    """Pack every input of a job, in order.

    Raises:
        InvalidRequest: a source does not exist, cannot be read, or is a special file.
    """
    packed: list[InputFile] = []
    for index, item in enumerate(request.inputs):
        tar = files.input_path(job_id, index)
        packed.append(await trio.to_thread.run_sync(_pack_one, item, tar))
    return tuple(packed)


def _pack_one(item: LocalInput, tar: Path) -> InputFile:
    source = Path(item.source)
    single = source.is_file()
    # A single file appears under the name the job asks for, whatever it is called here.
    target = posixpath.dirname(item.target) if single else item.target
    try:
        pack(source, tar, name=posixpath.basename(item.target) if single else "")
    except OSError as error:
        raise InvalidRequest(
            f"cannot read input {source}: {error.strerror}", code="input_unreadable", where=str(source)
        ) from None
    return InputFile(target=target, size=tar.stat().st_size, sha256=sha256_of(tar))
