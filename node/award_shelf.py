"""Keeps the file behind each award, so that its choice can be checked by anybody it is shown to.

One file per job in the node's own folder; the oldest go first when there are many or they are large.
"""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from market.errors import InvalidRequest
from market.transcript import AwardFile, pack_file

log = logging.getLogger(__name__)

KEPT = 512
KEPT_BYTES = 512 * 1024 * 1024
_SUFFIX = ".award"


class AwardShelf:
    """Award files under ``root``, named by job."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, job_id: str, file: AwardFile) -> None:
        """Keep the file of a job's award; a later award of the same job replaces it. A full disk costs the file only:
        it proves something, and nothing rests on it."""
        try:
            self._write(job_id, pack_file(file))
        except OSError as error:
            log.warning("the award file of job %s was not kept: %s", job_id[:8], error)

    async def get(self, job_id: str) -> bytes:
        """The packed file of a job's award.

        Raises:
            InvalidRequest: the job was never awarded, or its file is gone.
        """
        path = self._path(job_id)
        try:
            return await trio.Path(path).read_bytes()
        except FileNotFoundError:
            raise InvalidRequest(
                "there is no award file for this job",
                code="not_found",
                fix=f"only the newest {KEPT} are kept, and only jobs that found a provider have one",
            ) from None

    def _path(self, job_id: str) -> Path:
        return self._root / f"{job_id}{_SUFFIX}"

    def _write(self, job_id: str, data: bytes) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(job_id)
        part = path.with_suffix(".part")
        part.write_bytes(data)
        part.replace(path)
        self._make_room()

    def _make_room(self) -> None:
        files = sorted(self._root.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        total = 0
        for number, path in enumerate(files):
            total += path.stat().st_size
            # The newest stays, however large: it is what somebody is about to ask for.
            if number >= KEPT or (number and total > KEPT_BYTES):
                path.unlink(missing_ok=True)
