"""The requester's end of inputs, logs and outputs: streams it opens to the provider, and the files it keeps of a job.

Transfers go on where they broke off; every file is checked against size and hash before it is used. Nothing a
provider says chooses a path here: folders are named by job, files by index.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import trio

from market.errors import InvalidRequest, PeerFault
from node import wire
from node.frames import FrameReader, close_soon, send_frame
from node.job_file.request import JobRequest
from node.lease_board import LeaseBoard
from node.output_folder import place_output
from node.ports import Network, PeerUnreachable

log = logging.getLogger(__name__)

MAX_LOG_BYTES = 256 * 1024 * 1024
_RETRY_S = 0.5
_LOG_END_PATIENCE_S = 10.0


class RequesterFiles:
    """Files of jobs under ``<root>/<job>/``: ``inputs/<n>.tar``, ``log``, and outputs on their way in."""

    def __init__(self, root: Path, network: Network) -> None:
        self._root = root
        self._network = network
        self._log_ended: dict[bytes, trio.Event] = {}
        self._requests: dict[str, JobRequest] = {}

    def folder(self, job_id: str) -> Path:
        """The folder of a job; made private to this user."""
        folder = self._root / job_id
        (folder / "inputs").mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def input_path(self, job_id: str, index: int) -> Path:
        """The packed input ``index`` of a job."""
        return self.folder(job_id) / "inputs" / f"{index}.tar"

    def log_path(self, job_id: str) -> Path:
        """All output of the job received so far."""
        return self.folder(job_id) / "log"

    def adopt(self, job_id: str, request: JobRequest) -> None:
        """Remember where a job's outputs shall go."""
        self._requests[job_id] = request

    def forget(self, board: LeaseBoard) -> None:
        """The lease is over: what only its transfers needed may go. The log stays."""
        self._log_ended.pop(board.lease_id, None)
        self._requests.pop(board.job_id, None)
        shutil.rmtree(self._root / board.job_id / "inputs", ignore_errors=True)

    async def send_input(self, board: LeaseBoard, index: int) -> None:
        """Send one packed input, from where the provider has it up to.

        Raises:
            PeerUnreachable: the stream broke; call again to go on.
        """
        path = self.input_path(board.job_id, index)
        stream = await self._network.open_stream(board.provider, wire.PROTOCOL_INPUTS)
        reader = FrameReader(stream)
        try:
            await send_frame(stream, {"lease": board.lease_id, "index": index})
            have = _int(await reader.frame(), "have")
            if have > _size(path):
                raise PeerFault("a provider that has more of a file than there is", code="bad_answer")
            async with await trio.open_file(path, "rb") as file:
                await file.seek(have)
                while piece := await file.read(wire.CHUNK):
                    await stream.send(piece)
            await stream.send_eof()
            answer = await reader.frame()
        finally:
            await close_soon(stream)
        if not (isinstance(answer, dict) and answer.get("ok") is True):
            raise PeerUnreachable("the provider did not accept the input; sending it again")

    async def follow_logs(self, board: LeaseBoard) -> None:
        """Copy the job's output into the log file until it ends. Goes on by itself after a broken stream."""
        ended = self._log_ended.setdefault(board.lease_id, trio.Event())
        while not ended.is_set():
            try:
                if await self._copy_log(board):
                    ended.set()
            except PeerUnreachable as error:
                log.info("lease %s: log stream broke: %s", board.lease_id.hex()[:8], error)
            except PeerFault as fault:
                self._network.penalise(board.provider, fault.code)
            await trio.sleep(_RETRY_S)

    def log_ended(self, board: LeaseBoard) -> bool:
        """Whether the whole log is here."""
        event = self._log_ended.get(board.lease_id)
        return event is not None and event.is_set()

    async def wait_log_end(self, board: LeaseBoard) -> None:
        """Give the last lines a moment to arrive. A provider that keeps them back does not stop us for long."""
        with trio.move_on_after(_LOG_END_PATIENCE_S):
            await self._log_ended.setdefault(board.lease_id, trio.Event()).wait()

    async def _copy_log(self, board: LeaseBoard) -> bool:
        path = self.log_path(board.job_id)
        stream = await self._network.open_stream(board.provider, wire.PROTOCOL_LOGS)
        reader = FrameReader(stream)
        try:
            with path.open("ab") as file:
                await send_frame(stream, {"lease": board.lease_id, "offset": file.tell()})
                while (frame := await reader.maybe_frame()) is not None:
                    if isinstance(frame, dict) and frame.get("end") is True:
                        return True
                    if not _append(file, frame):
                        return True
        finally:
            await close_soon(stream)
        return False

    async def fetch_outputs(self, board: LeaseBoard) -> dict[str, Any]:
        """Fetch, check and unpack every declared output. Returns what arrived, for the job's owner.

        Raises:
            PeerUnreachable: a stream broke; call again, finished parts are not fetched twice.
        """
        request = self._requests.get(board.job_id)
        files: list[str] = []
        missing: list[str] = []
        problems: list[str] = []
        total = 0
        for index, output in enumerate(request.outputs if request else ()):
            tar = self.folder(board.job_id) / f"output-{index}.tar"
            size = await self._fetch_output(board, index, tar)
            if size is None:
                missing.append(output.source)
                continue
            staging = self.folder(board.job_id) / f"output-{index}"
            place = partial(place_output, tar, staging, Path(output.destination), source=output.source)
            total += size
            try:
                files.extend(await trio.to_thread.run_sync(place))
            except InvalidRequest as error:
                # Arrived, but cannot be put where the user wants it: the archive stays, and the provider is paid.
                problems.append(f"{error.message}; the archive is kept at {tar}")
                continue
            tar.unlink(missing_ok=True)
        destinations = [output.destination for output in request.outputs] if request else []
        return {
            "files": files[:200],
            "count": len(files),
            "bytes": total,
            "to": destinations,
            "missing": missing,
            "problems": problems,
        }

    async def _fetch_output(self, board: LeaseBoard, index: int, tar: Path) -> int | None:
        stream = await self._network.open_stream(board.provider, wire.PROTOCOL_OUTPUTS)
        reader = FrameReader(stream)
        try:
            offset = _size(tar)
            await send_frame(stream, {"lease": board.lease_id, "index": index, "offset": offset})
            answer = await reader.frame()
            if isinstance(answer, dict) and answer.get("missing"):
                return None
            size, digest = _int(answer, "size"), answer.get("sha256")
            await _receive_to(reader, tar, size)
        finally:
            await close_soon(stream)
        if not await trio.to_thread.run_sync(_keep_if, tar, digest):
            raise PeerUnreachable("an output did not match its hash; fetching it again")
        return size


async def _receive_to(reader: FrameReader, path: Path, size: int) -> None:
    if size > wire.MAX_TRANSFER:
        raise PeerFault(f"an output of {size} bytes is over the limit", code="oversized")
    async with await trio.open_file(path, "ab") as file:
        have = await file.tell()
        while have < size:
            piece = await reader.raw(min(wire.CHUNK, size - have))
            if not piece:
                raise PeerUnreachable("the stream ended before the file")
            await file.write(piece)
            have += len(piece)


def _append(file: Any, frame: Any) -> bool:
    """Write one log frame; False once the log is as long as we are willing to keep."""
    data = frame.get("data") if isinstance(frame, dict) else None
    if not isinstance(data, bytes) or frame.get("offset") != file.tell():
        raise PeerFault("a log frame that does not continue the log", code="bad_log")
    file.write(data[: max(0, MAX_LOG_BYTES - file.tell())])
    file.flush()
    return bool(file.tell() < MAX_LOG_BYTES)


def _int(frame: Any, name: str) -> int:
    value = frame.get(name) if isinstance(frame, dict) else None
    if type(value) is not int or value < 0:
        raise PeerFault(f"an answer without '{name}'", code="bad_answer")
    return value


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _keep_if(path: Path, digest: object) -> bool:
    """Whether the file has that SHA-256; one that has not is deleted, so that the next attempt starts afresh."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").digest() == digest:
            return True
    path.unlink()
    return False
