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

_LARGEST = 2**40
"""Of one input, as a spec can say it."""


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


async def measure_inputs(request: JobRequest) -> tuple[InputFile, ...]:
    """About what :func:`pack_inputs` would make, without reading a byte of content: the hashes are empty.

    Raises:
        InvalidRequest: a source does not exist, or cannot be read.
    """
    return tuple([await trio.to_thread.run_sync(_measure_one, item) for item in request.inputs])


def _measure_one(item: LocalInput) -> InputFile:
    top = Path(item.source)
    if not top.exists():
        raise InvalidRequest(f"{top} does not exist", code="no_such_file", where=str(top))
    found = [top] if top.is_file() else top.rglob("*")
    try:
        # A tar file has a block of 512 bytes for each name, and fills up the last block of each content.
        size = sum(512 + -(-_content(path) // 512) * 512 for path in found)
    except OSError as error:
        raise _unreadable(top, error) from None
    return InputFile(target=item.target, size=min(size, _LARGEST), sha256=bytes(32))


def _content(path: Path) -> int:
    return path.stat().st_size if path.is_file() and not path.is_symlink() else 0


def _unreadable(source: Path, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"cannot read input {source}: {error.strerror}", code="input_unreadable", where=str(source))


def _pack_one(item: LocalInput, tar: Path) -> InputFile:
    source = Path(item.source)
    single = source.is_file()
    # A single file appears under the name the job asks for, whatever it is called here.
    target = posixpath.dirname(item.target) if single else item.target
    try:
        pack(source, tar, name=posixpath.basename(item.target) if single else "")
    except OSError as error:
        raise _unreadable(source, error) from None
    return InputFile(target=target, size=tar.stat().st_size, sha256=sha256_of(tar))
