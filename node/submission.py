"""From a request to what its jobs begin with: ids, salts, inputs packed once. One job, or one for each of a gang."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio
from msgspec.structs import replace

from ledger.ports import NewEntry
from market import codec
from market.errors import InvalidRequest
from market.records import JobSpec
from node import wire
from node.gang import members_of
from node.job_file.request import JobRequest
from node.job_journal import SUBMITTED, GangPlace, Submitted, job_entry
from node.job_packing import pack_inputs
from node.requester_files import RequesterFiles


async def prepare(request: JobRequest, files: RequesterFiles, rng: random.Random) -> list[tuple[str, Submitted]]:
    """The jobs of a request by id, a gang's by rank. Its inputs are packed; nothing is journalled.

    Raises:
        InvalidRequest: an input cannot be read, or a job is too large to travel.
    """
    members = members_of(request) if request.machines > 1 else [request]
    ids = [rng.randbytes(16).hex() for _ in members]
    inputs = await pack_inputs(request, files, ids[0])
    for other in ids[1:]:
        await trio.to_thread.run_sync(_share_inputs, files, ids[0], other, len(inputs))
    gang = rng.randbytes(8).hex() if len(members) > 1 else ""
    prepared = []
    for rank, (job_id, member) in enumerate(zip(ids, members, strict=True)):
        spec = replace(member.spec, inputs=inputs)
        _check_size(spec)
        place = GangPlace(gang=gang, rank=rank, size=len(members)) if gang else None
        prepared.append((job_id, Submitted(request=member, spec=spec, salt=rng.randbytes(16), gang=place)))
    return prepared


def first_entries(prepared: Sequence[tuple[str, Submitted]], now: int) -> list[NewEntry]:
    """What begins the streams of these jobs."""
    return [
        replace(job_entry(job_id, SUBMITTED, now, {}), body=msgspec.json.encode(submitted))
        for job_id, submitted in prepared
    ]


def _check_size(spec: JobSpec) -> None:
    if len(codec.pack_record(spec)) > wire.MAX_SPEC:
        # Providers would call it our fault, and ban us after a few tries.
        raise InvalidRequest(
            "command, environment and paths of this job are too long together",
            code="spec_too_large",
            fix="put what is long into an input file",
        )


def _share_inputs(files: RequesterFiles, job_id: str, other: str, count: int) -> None:
    """Each member deletes its own inputs when it is over: a second name costs no disk."""
    for index in range(count):
        source, target = files.input_path(job_id, index), files.input_path(other, index)
        with suppress(OSError):
            os.link(source, target)
            continue
        shutil.copyfile(source, target)
