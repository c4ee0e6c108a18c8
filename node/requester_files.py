"""The requester's end of inputs, logs and outputs: streams it opens to the provider, and the files it keeps of a job.

Transfers go on where they broke off; every file is checked against size and hash before it is used. Nothing a
provider says chooses a path here: folders are named by job, files by index.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio
from msgspec import Struct

from market.errors import InvalidRequest, PeerFault
from node import wire
from node.frames import FrameReader, conversation, send_frame, send_raw
from node.job_file.request import JobRequest, LocalOutput
from node.lease_board import LeaseBoard
from node.output_folder import Placed, place_output
from node.ports import Network, PeerUnreachable
from node.retry_pause import RetryPause

log = logging.getLogger(__name__)

MAX_LOG_BYTES = 256 * 1024 * 1024
_MOST_NAMES = 200
_MOST_PROBLEMS = 20
_RETRY_S = 0.5
_LOG_END_PATIENCE_S = 10.0


class _Fetched(Struct, frozen=True, kw_only=True):
    """What became of one output. ``size`` is that of the files it left, not of the archive they came in."""

    missing: bool = False
    size: int = 0
    files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class RequesterFiles:
    """Files of jobs under ``<root>/<job>/``: ``inputs/<n>.tar``, ``log``, and outputs on their way in.

    ``<root>/placed/`` remembers which files in the users' folders came out of jobs.

    Attributes:
        moved: told ``(provider, bytes, seconds)`` of every input that arrived, so that lines are timed by real work.
    """

    def __init__(self, root: Path, network: Network, rng: Random | None = None) -> None:
        self.moved: Callable[[bytes, int, float], Awaitable[None]] = _not_timed
        self._root = root
        self._network = network
        self._rng = rng
        self._hurry: dict[bytes, trio.Event] = {}
        self._log_ended: dict[bytes, trio.Event] = {}
        self._requests: dict[str, JobRequest] = {}
        self._fetched: dict[bytes, dict[int, _Fetched]] = {}
        self._placing = trio.CapacityLimiter(1)

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
        self._hurry.pop(board.lease_id, None)
        self._fetched.pop(board.lease_id, None)
        self._requests.pop(board.job_id, None)
        shutil.rmtree(self._root / board.job_id / "inputs", ignore_errors=True)

    def fetched_bytes(self, board: LeaseBoard) -> int:
        """How much came back of a job's outputs, while its lease is not forgotten."""
        return sum(one.size for one in self._fetched.get(board.lease_id, {}).values())

    async def send_input(self, board: LeaseBoard, index: int) -> None:
        """Send one packed input, from where the provider has it up to; wait while the provider is not ready for it.

        Raises:
            PeerUnreachable: the stream broke; call again to go on.
        """
        while not await self._try_input(board, index):
            await trio.sleep(_RETRY_S)

    async def _try_input(self, board: LeaseBoard, index: int) -> bool:
        """False when the provider has not seen our payment yet, or still holds an earlier stream of ours."""
        path = self.input_path(board.job_id, index)
        async with conversation(await self._network.open_stream(board.provider, wire.PROTOCOL_INPUTS)) as reader:
            await send_frame(reader.stream, {"lease": board.lease_id, "index": index})
            answer = await reader.frame()
            if isinstance(answer, dict) and answer.get("wait") is True:
                return False
            have, began = _int(answer, "have"), trio.current_time()
            if have > _size(path):
                raise PeerFault("a provider that has more of a file than there is", code="bad_answer")
            async with await trio.open_file(path, "rb") as file:
                await file.seek(have)
                while piece := await file.read(wire.CHUNK):
                    await send_raw(reader.stream, piece)
            await reader.stream.send_eof()
            answer = await reader.frame()
        if not (isinstance(answer, dict) and answer.get("ok") is True):
            raise PeerUnreachable("the provider did not accept the input; sending it again")
        await self.moved(board.provider, _size(path) - have, trio.current_time() - began)
        return True

    async def follow_logs(self, board: LeaseBoard) -> None:
        """Copy the job's output into the log file until it ends. Goes on by itself after a broken stream."""
        ended, pause = self._log_ended.setdefault(board.lease_id, trio.Event()), RetryPause(self._rng)
        while not ended.is_set():
            why = "it ended too early"
            try:
                if await self._copy_log(board, pause):
                    ended.set()
                    return
            except PeerUnreachable as error:
                why = str(error)
            except PeerFault as fault:
                why = fault.code
                self._network.penalise(board.provider, fault.code)
            if not pause.failures:
                log.info("lease %s: log stream broke: %s", board.lease_id.hex()[:8], why)
            await self._wait_to_retry(board, pause.failed())

    async def _wait_to_retry(self, board: LeaseBoard, pause_s: float) -> None:
        hurry = self._hurry.setdefault(board.lease_id, trio.Event())
        if hurry.is_set():
            await trio.sleep(_RETRY_S)
            return
        with trio.move_on_after(pause_s):
            await hurry.wait()

    def log_ended(self, board: LeaseBoard) -> bool:
        """Whether the whole log is here."""
        event = self._log_ended.get(board.lease_id)
        return event is not None and event.is_set()

    async def wait_log_end(self, board: LeaseBoard) -> None:
        """Give the last lines a moment to arrive. A provider that keeps them back does not stop us for long."""
        # A follower that pauses after failures would sleep through that moment.
        self._hurry.setdefault(board.lease_id, trio.Event()).set()
        with trio.move_on_after(_LOG_END_PATIENCE_S):
            await self._log_ended.setdefault(board.lease_id, trio.Event()).wait()

    async def _copy_log(self, board: LeaseBoard, pause: RetryPause) -> bool:
        path = self.log_path(board.job_id)
        async with conversation(await self._network.open_stream(board.provider, wire.PROTOCOL_LOGS)) as reader:
            with path.open("ab") as file:
                await send_frame(reader.stream, {"lease": board.lease_id, "offset": file.tell()})
                while (frame := await reader.maybe_frame()) is not None:
                    if isinstance(frame, dict) and frame.get("end") is True:
                        return True
                    if not _append(file, frame):
                        return True
                    if pause.succeeded():
                        log.info("lease %s: log stream goes on", board.lease_id.hex()[:8])
        return False

    async def fetch_outputs(self, board: LeaseBoard) -> dict[str, Any]:
        """Fetch, check and unpack every declared output. Returns what arrived, for the job's owner.

        Raises:
            PeerUnreachable: a stream broke; call again, finished parts are not fetched twice.
        """
        request = self._requests.get(board.job_id)
        outputs = request.outputs if request else ()
        done = self._fetched.setdefault(board.lease_id, {})
        for index, output in enumerate(outputs):
            if index not in done:
                done[index] = await self._fetch_and_place(board, index, output)
        fetched = [done[index] for index in range(len(outputs))]
        files = [name for one in fetched for name in one.files]
        return {
            "files": files[:_MOST_NAMES],
            "count": len(files),
            "bytes": sum(one.size for one in fetched),
            "to": [output.destination for output in outputs],
            "missing": [output.source for output, one in zip(outputs, fetched, strict=True) if one.missing],
            "problems": [problem for one in fetched for problem in one.problems],
        }

    async def _fetch_and_place(self, board: LeaseBoard, index: int, output: LocalOutput) -> _Fetched:
        tar = self.folder(board.job_id) / f"output-{index}.tar"
        if await self._fetch_output(board, index, tar) is None:
            return _Fetched(missing=True)
        place = partial(
            place_output,
            tar,
            self.folder(board.job_id) / f"output-{index}",
            Path(output.destination),
            source=output.source,
            records=self._root / "placed",
        )
        try:
            placed = await trio.to_thread.run_sync(place, limiter=self._placing)
        except InvalidRequest as error:
            # Arrived, but cannot be put where the user wants it: the archive stays, and the provider is paid.
            placed = Placed(files=(), problems=(error.message,))
        if placed.problems:
            kept = f"what is not in {output.destination} is kept in {tar}"
            return _Fetched(size=placed.size, files=placed.files, problems=(*_few(placed.problems), kept))
        tar.unlink(missing_ok=True)
        return _Fetched(size=placed.size, files=placed.files)

    async def _fetch_output(self, board: LeaseBoard, index: int, tar: Path) -> int | None:
        async with conversation(await self._network.open_stream(board.provider, wire.PROTOCOL_OUTPUTS)) as reader:
            offset = _size(tar)
            await send_frame(reader.stream, {"lease": board.lease_id, "index": index, "offset": offset})
            answer = await reader.frame()
            if isinstance(answer, dict) and answer.get("missing"):
                return None
            size, digest = _int(answer, "size"), answer.get("sha256")
            await _receive_to(reader, tar, size)
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


def _few(problems: tuple[str, ...]) -> tuple[str, ...]:
    left = len(problems) - _MOST_PROBLEMS
    return problems if left <= 0 else (*problems[:_MOST_PROBLEMS], f"and {left} more like these")


async def _not_timed(provider: bytes, size: int, seconds: float) -> None:
    """Nobody wants to know."""


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
